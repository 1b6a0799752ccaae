"""One customer's deployed stage, with the handles that tests and the demo need."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack import aws
from stack.deploy import Deployment, deploy
from stack.lifecycle import Stack
from stack.model import StackConfig, StackError, StackInfo
from stack.process import group_members

QUEUES = ("telemetry", "blocks", "summarize", "reconcile", "publish", "status", "register", "asks")


@dataclass(frozen=True)
class Installation:
    """A deployed `template.yaml`: names by what they are, and calls on the running parts."""

    info: StackInfo
    customer: str
    stage: str
    outputs: dict[str, str]

    @classmethod
    def deploy(cls, info: StackInfo, deployment: Deployment) -> Installation:
        """Deploys (or updates) and returns the handle."""
        return cls(info, deployment.customer, deployment.stage, deploy(info, deployment))

    @property
    def prefix(self) -> str:
        """`vitro-<customer>-<stage>`, the name of the stack and the start of every name."""
        return f"vitro-{self.customer}-{self.stage}"

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator's root."""
        return aws.client(self.info, service)

    def environment(self) -> dict[str, str]:
        """Variables for a child process that works on this installation."""
        names = {"VITRO_CUSTOMER": self.customer, "VITRO_STAGE": self.stage}
        return self.info.environment() | names

    def name(self, what: str) -> str:
        """Name of a table, function, secret or queue, such as `readings`, `ingest`, `fabric`, `publish-dlq`."""
        return f"{self.prefix}-{what}"

    @property
    def archive(self) -> str:
        """Name of the archive bucket."""
        return self.outputs["ArchiveBucket"]

    @property
    def quarantine(self) -> str:
        """Name of the quarantine bucket."""
        return self.outputs["QuarantineBucket"]

    def queue_url(self, queue: str) -> str:
        """URL of a queue."""
        return str(self.client("sqs").get_queue_url(QueueName=self.name(queue))["QueueUrl"])

    def waiting(self, queue: str) -> int:
        """Messages in a queue: visible, in flight or delayed."""
        counts = self.client("sqs").get_queue_attributes(
            QueueUrl=self.queue_url(queue),
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        return sum(int(count) for count in counts.values())

    def set_visibility(self, seconds: int) -> None:
        """Lets failed messages come back sooner than in production (a local shortcut, never in the template).

        Longer than the slowest invocation, or messages that are still being worked on come twice.
        """
        sqs = self.client("sqs")
        for queue in QUEUES:
            sqs.set_queue_attributes(QueueUrl=self.queue_url(queue), Attributes={"VisibilityTimeout": str(seconds)})

    def invoke(self, function: str, event: object) -> Any:
        """Invokes a function with an event and returns its answer; StackError when it failed."""
        answer = self.client("lambda").invoke(FunctionName=self.name(function), Payload=json.dumps(event).encode())
        payload = answer["Payload"].read().decode()
        if answer.get("FunctionError"):
            raise StackError(f"{function} failed: {payload}")
        return json.loads(payload) if payload else None

    def workers(self, function: str) -> list[int]:
        """Process ids of a function's running environments."""
        emulator = Stack(StackConfig(state_dir=Path(self.info.state_dir))).emulator.pid()
        wanted = f"AWS_LAMBDA_FUNCTION_NAME={self.name(function)}".encode()
        found = []
        for pid in group_members(emulator) if emulator is not None else []:
            # One that has just ended has no environment any more.
            with suppress(OSError):
                if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
        return found

    def kill(self, function: str) -> int:
        """Kills a function's running environments, as AWS may at any moment; returns how many."""
        workers = self.workers(function)
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(workers)

    def logs(self, function: str) -> list[str]:
        """Every log line of a function so far, oldest first."""
        pages = self.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=f"/aws/lambda/{self.name(function)}")
        return [event["message"] for page in found for event in page["events"]]

    def metric(self, name: str, reason: str | None = None, stat: str = "Sum", hours: float = 24) -> float:
        """A metric of the namespace `Vitro` over the last hours as one number; 0 when it was never emitted."""
        end = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
        dimensions = [{"Name": "Stack", "Value": self.prefix}]
        if reason is not None:
            dimensions.append({"Name": "Reason", "Value": reason})
        points = self.client("cloudwatch").get_metric_statistics(
            Namespace="Vitro",
            MetricName=name,
            Dimensions=dimensions,
            StartTime=end - dt.timedelta(hours=hours),
            EndTime=end,
            Period=60,
            Statistics=[stat],
        )["Datapoints"]
        values = [float(point[stat]) for point in points]
        return (sum if stat in ("Sum", "SampleCount") else max)(values or [0.0])

    def alarms(self) -> dict[str, str]:
        """State of each alarm by its name without the prefix."""
        pages = self.client("cloudwatch").get_paginator("describe_alarms")
        found = [a for p in pages.paginate(AlarmNamePrefix=f"{self.prefix}-") for a in p["MetricAlarms"]]
        return {alarm["AlarmName"].removeprefix(f"{self.prefix}-"): alarm["StateValue"] for alarm in found}
