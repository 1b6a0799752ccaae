"""What is changed in ministack, in its own process, and why.

Each change names the internal that it replaces; `adapt` refuses to start when one is gone, so that a newer
ministack fails here and not as a listener open to the network.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from types import FunctionType, ModuleType
from typing import Any

from stack import emf
from stack.certificates import ServerIdentity

WATCH_SECONDS = 5
# An invocation takes 6 MB; ten messages of 128 KB in base64 are 1.8 MB, so a batch stops growing here.
BATCH_BYTES = 4_000_000


def adapt(mqtt: socket.socket, identity: ServerIdentity) -> None:
    """Applies every change; called before ministack serves."""
    from ministack.core import iam_actions
    from ministack.services import cloudwatch, cloudwatch_logs, iot, lambda_svc, sqs

    _resources_of_iot(iam_actions)
    _mqtt_on_loopback(iot, mqtt)
    _mqtt_requires_certificate(iot, identity)
    _alarms_by_dimensions(cloudwatch)
    _metrics_from_logs(cloudwatch, cloudwatch_logs)
    _metrics_of_every_invocation(lambda_svc)
    _batches_of_any_size(sqs)


def _require(module: ModuleType, *names: str) -> None:
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        raise SystemExit(f"{module.__name__} has no {', '.join(missing)}: adapt stack.emulator to it")


def _mqtt_on_loopback(iot: Any, bound: socket.socket) -> None:
    """ministack binds its MQTT listener to 0.0.0.0; here it takes the loopback socket that is bound already."""
    _require(iot, "_mtls_start_locked", "_MtlsAcceptor", "_mtls_server", "_mtls_loop", "mtls_enabled")

    async def start_locked() -> None:
        if iot._mtls_server is not None:
            return
        loop = asyncio.get_running_loop()
        iot._mtls_server = await loop.create_server(iot._MtlsAcceptor, sock=bound.dup())
        iot._mtls_loop = loop

    iot._mtls_start_locked = start_locked


def _mqtt_requires_certificate(iot: Any, identity: ServerIdentity) -> None:
    """ministack serves clients without a certificate; AWS IoT Core on port 8883 never does."""
    _require(iot, "_mtls_build_ssl_context", "_mtls_ensure_server_cert")
    pems = (identity.certificate.read_text(), identity.key.read_text())
    iot._mtls_ensure_server_cert = lambda: pems
    build = iot._mtls_build_ssl_context

    def build_strict() -> ssl.SSLContext:
        context: ssl.SSLContext = build()
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    iot._mtls_build_ssl_context = build_strict


def _resources_of_iot(iam_actions: Any) -> None:
    """AWS IoT asks for the right on an authority, or on the certificate that a policy is attached to; ministack on `*`."""
    _require(iam_actions, "extract_resource_arn")
    extract = iam_actions.extract_resource_arn

    def extract_own(
        service: str, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any], *place: str
    ) -> str:
        region, account = place
        if service == "iot" and path.startswith("/cacertificate/"):
            return f"arn:aws:iot:{region}:{account}:cacert/{path.split('/')[2]}"
        if service == "iot" and path.startswith("/target-policies/"):
            return str(json.loads(body).get("target", "*"))
        return str(extract(service, method, path, headers, body, query, *place))

    iam_actions.extract_resource_arn = extract_own


def _alarms_by_dimensions(cloudwatch: Any) -> None:
    """ministack evaluates an alarm over every dimension of its metric, so one customer's gap rings all alarms.

    It also leaves an alarm as it is when data stop, whatever TreatMissingData says, and sees the periods of one that
    wants several as a single one.
    """
    _require(cloudwatch, "_evaluate_alarm", "_metrics", "_dims_key", "_dims_from_list")
    evaluate = cloudwatch._evaluate_alarm

    def evaluate_own(alarm: dict[str, Any]) -> None:
        dimensions = cloudwatch._dims_from_list(alarm.get("Dimensions") or [])
        own = (alarm.get("Namespace"), alarm.get("MetricName"), cloudwatch._dims_key(dimensions))
        points = list(cloudwatch._metrics.get(own) or [])
        now = time.time()
        period, wanted = alarm.get("Period", 60), alarm.get("EvaluationPeriods", 1)
        found = {int((now - point["Timestamp"]) // period) for point in points}
        if not found.issuperset(range(wanted)) and _silence_is_good(alarm):
            points = [{"Timestamp": now, "Value": alarm["Threshold"]}]
        # A copy of the function that sees one series: other threads go on writing to the real store.
        FunctionType(evaluate.__code__, {**vars(cloudwatch), "_metrics": {own: points}})(alarm)

    cloudwatch._evaluate_alarm = evaluate_own


def _silence_is_good(alarm: dict[str, Any]) -> bool:
    """Whether missing data mean OK. At the threshold itself, the alarms of template.yaml are not breached."""
    missing = alarm.get("TreatMissingData") == "notBreaching"
    return missing and alarm.get("ComparisonOperator") == "GreaterThanThreshold"


def _metrics_from_logs(cloudwatch: Any, logs: Any) -> None:
    """CloudWatch makes metrics of EMF lines as they are logged; for ministack they stay text."""
    _require(cloudwatch, "_metric_bucket", "_dims_key")
    _require(logs, "_fanout_to_subscription_filters")
    fan_out = logs._fanout_to_subscription_filters

    def fan_out_and_count(group: str, stream: str, events: list[dict[str, Any]]) -> None:
        for event in events:
            for metric in emf.metrics(event.get("message", ""), event.get("timestamp", 0)):
                key = (metric.namespace, metric.name, cloudwatch._dims_key(metric.dimensions))
                bucket = cloudwatch._metric_bucket(key)
                for value in metric.values:
                    bucket.append(
                        {
                            "Timestamp": metric.timestamp,
                            "Value": value,
                            "Unit": metric.unit,
                            "Dimensions": dict(metric.dimensions),
                        }
                    )
        fan_out(group, stream, events)

    logs._fanout_to_subscription_filters = fan_out_and_count


def _metrics_of_every_invocation(lambda_svc: Any) -> None:
    """ministack counts the invocations made by API; those that a queue or a schedule makes count on AWS, too."""
    _require(lambda_svc, "_emit_lambda_metrics", "_emit_lambda_logs")
    count = lambda_svc._emit_lambda_metrics
    log = lambda_svc._emit_lambda_logs

    def count_throttles(name: str, duration_ms: float, error: bool, throttle: bool) -> None:
        if throttle:
            count(name, duration_ms, error, throttle)

    # Every execution, whoever asked for it, is logged exactly once.
    def log_and_count(
        func: dict[str, Any], request_id: str, text: str, error: bool, duration_ms: int, **more: Any
    ) -> None:
        name = (func.get("config") or func).get("FunctionName", "unknown")
        count(name, float(duration_ms), error, False)
        log(func, request_id, text, error, duration_ms, **more)

    lambda_svc._emit_lambda_metrics = count_throttles
    lambda_svc._emit_lambda_logs = log_and_count


def _batches_of_any_size(sqs: Any) -> None:
    """ministack hands a function at most ten messages; AWS as many as its event source mapping says."""
    _require(sqs, "_receive_messages_for_esm")
    receive_ten = sqs._receive_messages_for_esm

    def receive(queue_url: str, wanted: int) -> list[dict[str, Any]]:
        batch: list[dict[str, Any]] = []
        size = 0
        while len(batch) < wanted and size < BATCH_BYTES:
            part = receive_ten(queue_url, wanted - len(batch))
            if not part:
                break
            batch += part
            size += sum(len(message["body"]) for message in part)
        return batch

    sqs._receive_messages_for_esm = receive


async def watch_metrics(account: str, region: str) -> None:
    """Counts the messages that wait in each queue and evaluates the alarms, as AWS does by itself."""
    from ministack.core.responses import request_scope
    from ministack.services import cloudwatch, sqs

    _require(cloudwatch, "record_metric", "_evaluate_all_alarms")
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        with request_scope(account, region):
            now = time.time()
            for queue in list(sqs._queues.values()):
                waiting = [message for message in queue["messages"] if message["visible_at"] <= now]
                oldest = min((message["sent_at"] for message in waiting), default=now)
                dimensions = {"QueueName": queue["name"]}
                for metric, value, unit in (
                    ("ApproximateNumberOfMessagesVisible", len(waiting), "Count"),
                    ("ApproximateAgeOfOldestMessage", now - oldest, "Seconds"),
                ):
                    cloudwatch.record_metric("AWS/SQS", metric, value, unit, dimensions)
            cloudwatch._evaluate_all_alarms()
