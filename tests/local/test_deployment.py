"""template.yaml deployed for two customers in one account: each message reaches its own customer's queue."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.device import Device, provision
from stack import Deployment, Installation, StackInfo, wait

NOT_UTF8 = b"\xd2\x84\x00\xff\xfe"


def quiet(installation: Installation) -> Installation:
    """Takes the functions off the queues, so that what arrives stays to be looked at."""
    functions = installation.client("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        if f":{installation.prefix}-" in mapping["EventSourceArn"]:
            functions.delete_event_source_mapping(UUID=mapping["UUID"])
    return installation


@pytest.fixture(scope="module")
def customers(new_stack: Callable[..., StackInfo], bare_template: Path) -> dict[str, Installation]:
    """Two customers on one stack that enforces every policy."""
    info = new_stack(auth=True, ledger=False)
    return {
        customer: quiet(Installation.deploy(info, Deployment(customer, "test", template=bare_template)))
        for customer in ("acme", "globex")
    }


@pytest.fixture(scope="module")
def meter(customers: dict[str, Installation], tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A device of the first customer."""
    return provision(customers["acme"], "meter-1", tmp_path_factory.mktemp("meter"))


def receive(installation: Installation, queue: str) -> dict[str, Any]:
    """The next message of a queue."""
    sqs, url = installation.client("sqs"), installation.queue_url(queue)

    def next_message() -> dict[str, Any] | None:
        return next(iter(sqs.receive_message(QueueUrl=url).get("Messages", [])), None)

    message = wait.until(f"a message in {queue}", next_message, 20)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    body: dict[str, Any] = json.loads(message["Body"])
    return body


@pytest.mark.parametrize("basic_ingest", [False, True], ids=["plain", "basic-ingest"])
@pytest.mark.parametrize(("kind", "queue"), [("telemetry", "telemetry"), ("block", "blocks"), ("reply", "blocks")])
def test_a_message_arrives_byte_for_byte_with_its_sender(
    customers: dict[str, Installation], meter: Device, kind: str, queue: str, basic_ingest: bool
) -> None:
    topic = f"vitro/acme/{meter.thing}/{kind}"
    payload = NOT_UTF8 + kind.encode() + bytes([basic_ingest])
    connection = meter.connect()
    assert connection.outcome()
    assert connection.publish(f"$aws/rules/vitro_acme_{kind}/{topic}" if basic_ingest else topic, payload)
    event = receive(customers["acme"], queue)
    connection.close()
    received = event.pop("received")
    assert isinstance(received, int)
    assert event == {
        "envelope": base64.b64encode(payload).decode(),
        "thing": meter.thing,
        "topic": topic,
        "client": meter.thing,
        "principal": meter.certificate_arn.rpartition("/")[2],
    }
    assert all(customers["globex"].waiting(other) == 0 for other in ("telemetry", "blocks", "rule-errors"))


def test_a_device_hears_its_own_commands(customers: dict[str, Installation], meter: Device) -> None:
    topic = f"vitro/acme/{meter.thing}/command"
    connection = meter.connect()
    assert connection.outcome()
    assert connection.subscribe(topic)
    customers["acme"].client("iot-data").publish(topic=topic, qos=1, payload=NOT_UTF8)
    wait.until("the command", lambda: connection.messages == [(topic, NOT_UTF8)], 20)
    connection.close()


def test_without_a_certificate_there_is_no_connection(meter: Device) -> None:
    assert meter.connect(certificate=False).outcome() is False


def test_nobody_connects_under_another_name(meter: Device) -> None:
    assert meter.connect("meter-2").outcome() is False


@pytest.mark.parametrize(
    "topic",
    [
        "vitro/acme/meter-2/telemetry",
        "vitro/globex/meter-1/telemetry",
        "vitro/acme/meter-1/command",
        "$aws/rules/vitro_acme_telemetry/vitro/acme/meter-2/telemetry",
        "$aws/rules/vitro_acme_block/vitro/acme/meter-1/telemetry",
        "$aws/rules/vitro_globex_telemetry/vitro/globex/meter-1/telemetry",
    ],
)
def test_nobody_speaks_for_another(customers: dict[str, Installation], meter: Device, topic: str) -> None:
    connection = meter.connect()
    assert connection.outcome()
    assert connection.publish(topic, b"forged") is False
    for installation in customers.values():
        assert all(installation.waiting(queue) == 0 for queue in ("telemetry", "blocks"))


@pytest.mark.parametrize("topic", ["vitro/acme/meter-2/command", "vitro/acme/+/command", "#"])
def test_nobody_listens_to_another(meter: Device, topic: str) -> None:
    connection = meter.connect()
    assert connection.outcome()
    assert connection.subscribe(topic) is False


def test_what_a_rule_cannot_deliver_is_kept_and_rings(new_stack: Callable[..., StackInfo], tmp_path: Path) -> None:
    info = new_stack(ledger=False)
    installation = Installation.deploy(info, Deployment("acme", "test"))
    device = provision(installation, "meter-1", tmp_path)
    installation.client("sqs").delete_queue(QueueUrl=installation.queue_url("telemetry"))
    connection = device.connect()
    assert connection.outcome()
    assert connection.publish("vitro/acme/meter-1/telemetry", NOT_UTF8)
    connection.close()
    wait.until("the alarm", lambda: installation.alarms()["rule-errors"] == "ALARM", 30)
    error = receive(installation, "rule-errors")
    assert base64.b64decode(error["base64OriginalPayload"]) == NOT_UTF8
    assert error["ruleName"] == "vitro_acme_telemetry"


def test_a_role_may_nothing_beyond_its_function(customers: dict[str, Installation]) -> None:
    installation, other = customers["acme"], customers["globex"]
    iam = installation.client("iam")
    account = installation.info.account

    def decision(role: str, action: str, resource: str) -> str:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{account}:role/{installation.name(role)}",
            ActionNames=[action],
            ResourceArns=[resource],
        )
        return str(answer["EvaluationResults"][0]["EvalDecision"])

    def table(owner: Installation, name: str) -> str:
        return f"arn:aws:dynamodb:{owner.info.region}:{account}:table/{owner.name(name)}"

    assert decision("ingest", "dynamodb:BatchWriteItem", table(installation, "readings")) == "allowed"
    assert decision("ingest", "dynamodb:BatchWriteItem", table(other, "readings")) == "implicitDeny"
    assert decision("ingest", "dynamodb:DeleteItem", table(installation, "readings")) == "implicitDeny"
    archive = f"arn:aws:s3:::{installation.archive}/statements/x"
    assert decision("bill", "s3:PutObject", archive) == "allowed"
    assert decision("bill", "s3:DeleteObject", archive) == "implicitDeny"


def test_the_archive_keeps_what_it_has(customers: dict[str, Installation]) -> None:
    installation = customers["acme"]
    s3 = installation.client("s3")
    version = s3.put_object(Bucket=installation.archive, Key="blocks/x", Body=b"1")["VersionId"]
    with pytest.raises(s3.exceptions.ClientError, match="object lock"):
        s3.delete_object(Bucket=installation.archive, Key="blocks/x", VersionId=version)


def test_deploying_again_changes_nothing(customers: dict[str, Installation], bare_template: Path) -> None:
    before = customers["globex"]
    again = Installation.deploy(before.info, Deployment("globex", "test", template=bare_template))
    assert again == before
