"""What the product has stored, straight from its tables, buckets and queues."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import cbor2
from boto3.dynamodb.types import TypeDeserializer

from stack import Installation, wait

_PLAIN = TypeDeserializer()


def _item(item: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        found = _PLAIN.deserialize(value)
        if isinstance(found, Decimal):
            return int(found)
        return bytes(found) if hasattr(found, "value") else found

    return {name: plain(value) for name, value in item.items()}


def readings(installation: Installation, thing: str) -> dict[int, list[bytes]]:
    """Every stored envelope of a device by its number."""
    pages = (
        installation.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=installation.name("readings"),
            KeyConditionExpression="device = :d",
            ExpressionAttributeValues={":d": {"S": thing}},
            ConsistentRead=True,
        )
    )
    found: dict[int, list[bytes]] = {}
    for item in (_item(item) for page in pages for item in page["Items"]):
        found.setdefault(int.from_bytes(item["key"][:8], "big"), []).append(item["envelope"])
    return found


def row_of_reading(installation: Installation, thing: str, number: int) -> dict[str, Any]:
    """The item of a stored envelope, the first under its number; empty when there is none."""
    found = installation.client("dynamodb").query(
        TableName=installation.name("readings"),
        KeyConditionExpression="device = :d AND #k BETWEEN :a AND :b",
        ExpressionAttributeNames={"#k": "key"},
        ExpressionAttributeValues={
            ":d": {"S": thing},
            ":a": {"B": number.to_bytes(8, "big") + bytes(8)},
            ":b": {"B": number.to_bytes(8, "big") + b"\xff" * 8},
        },
        ConsistentRead=True,
    )["Items"]
    return _item(found[0]) if found else {}


def parked(installation: Installation, thing: str) -> list[dict[str, Any]]:
    """What was parked of a device, oldest first; of devices without a name by their object's key."""
    pages = installation.client("dynamodb").get_paginator("scan").paginate(TableName=installation.name("parked"))
    rows = [_item(item) for page in pages for item in page["Items"]]
    return sorted((row for row in rows if row.get("device") == thing), key=lambda row: str(row["id"]))


def parked_by_the_stack(installation: Installation, thing: str) -> list[dict[str, Any]]:
    """What was parked of a device that may be on no ledger: without what the ledger refused."""
    return [row for row in parked(installation, thing) if by_the_stack(row)]


def by_the_stack(row: dict[str, Any]) -> bool:
    """Whether the stack itself parked a row: once a test has set the ledger up, it refuses devices that are not on it."""
    return not str(row["detail"]).startswith("the ledger refuses")


def quarantined(installation: Installation, row: dict[str, Any]) -> dict[str, Any]:
    """The object that a parked row points to."""
    found = installation.client("s3").get_object(Bucket=row["bucket"], Key=row["key"])
    document: dict[str, Any] = json.loads(found["Body"].read())
    return document


def refusals(installation: Installation, thing: str) -> list[tuple[str, dict[str, Any]]]:
    """Reason and whole rule event of each quarantined message of a device."""
    documents = [quarantined(installation, row) for row in parked_by_the_stack(installation, thing) if "key" in row]
    return [(document["reason"], document["event"]) for document in documents]


def row(installation: Installation, table: str, **key: str) -> dict[str, Any]:
    """A row of a table, such as `row(i, "days", device="meter-1", day="2026-01-01")`; empty when there is none."""
    found = installation.client("dynamodb").get_item(
        TableName=installation.name(table),
        Key={name: {"S": value} for name, value in key.items()},
        ConsistentRead=True,
    )
    return _item(found.get("Item", {}))


def forget(installation: Installation, thing: str, number: int) -> None:
    """Takes a number's readings away, as their time to live does."""
    dynamodb, table = installation.client("dynamodb"), installation.name("readings")
    found = dynamodb.query(
        TableName=table,
        KeyConditionExpression="device = :d",
        ExpressionAttributeValues={":d": {"S": thing}},
        ProjectionExpression="device, #k",
        ExpressionAttributeNames={"#k": "key"},
    )["Items"]
    for key in found:
        if int.from_bytes(key["key"]["B"][:8], "big") == number:
            dynamodb.delete_item(TableName=table, Key=key)


def set_status(installation: Installation, thing: str, status: str) -> None:
    """Sets a device's status in the registry."""
    installation.client("dynamodb").update_item(
        TableName=installation.name("devices"),
        Key={"device": {"S": thing}},
        UpdateExpression="SET #s = :s",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": {"S": status}},
    )


def settled(installation: Installation, thing: str, day: str, timeout: float = 60) -> dict[str, Any]:
    """The row of a day once it has an outcome."""

    def found() -> dict[str, Any] | None:
        current = row(installation, "days", device=thing, day=day)
        return current if current.get("outcome") else None

    return wait.until(f"the outcome of {thing}", found, timeout, 0.2)


def archived(installation: Installation, key: str, version: str) -> bytes:
    """An object of the archive in one version."""
    found = installation.client("s3").get_object(Bucket=installation.archive, Key=key, VersionId=version)
    body: bytes = found["Body"].read()
    return body


def summary_increase(installation: Installation, day: dict[str, Any], sensor: str) -> Decimal:
    """A counter's increase in the cloud's own summary of a settled day, from the bytes that the digests are over."""
    document = json.loads(archived(installation, day["summary_key"], day["summary_version"]))
    summaries = cbor2.loads(base64.b64decode(document["summaries_cbor"]))
    return next(Decimal(summary[12]) for summary in summaries if summary[0] == sensor)


def put(installation: Installation, queue: str, bodies: list[str]) -> None:
    """Puts messages into a queue, ten a call as SQS takes them, and fewer when they are large."""
    sqs, url = installation.client("sqs"), installation.queue_url(queue)
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)


def in_flight(installation: Installation, queue: str) -> int:
    """Messages that are being worked on, or wait to come again."""
    name = "ApproximateNumberOfMessagesNotVisible"
    url = installation.queue_url(queue)
    found = installation.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(found["Attributes"][name])


@contextmanager
def held_back(installation: Installation, queue: str, batch: int | None = None) -> Iterator[None]:
    """Holds a queue's messages back from its function, so that they meet in one batch when the block ends.

    `batch` is how many a batch takes from then on.
    """
    functions = installation.client("lambda")
    arn_ends = f":{installation.name(queue)}"
    (mapping,) = (
        found
        for found in functions.list_event_source_mappings()["EventSourceMappings"]
        if found["EventSourceArn"].endswith(arn_ends)
    )
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        size = {"BatchSize": batch} if batch else {}
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True, **size)


def with_batches_of(installation: Installation, queue: str, batch: int) -> None:
    """Sets how many messages a batch of a queue takes."""
    with held_back(installation, queue, batch):
        pass
