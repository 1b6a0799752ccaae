"""Reading what the product did, straight from where it keeps it: tables, buckets, metrics."""

from __future__ import annotations

import base64
import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
from boto3.dynamodb.types import TypeDeserializer

from stack import Installation

_PLAIN = TypeDeserializer()


def day_row(installation: Installation, thing: str, day: str) -> dict[str, Any]:
    """The state of a device's day; empty when there is none."""
    found = installation.client("dynamodb").get_item(
        TableName=installation.name("days"),
        Key={"device": {"S": thing}, "day": {"S": day}},
        ConsistentRead=True,
    )
    return _item(found.get("Item", {}))


def readings(installation: Installation, thing: str) -> list[dict[str, Any]]:
    """Every stored envelope of a device, by number."""
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
    items = [_item(item) for page in pages for item in page["Items"]]
    for item in items:
        item["number"] = int.from_bytes(item["key"][:8], "big")
    return items


def stored_count(installation: Installation, thing: str) -> int:
    """How many envelopes of a device are stored."""
    pages = (
        installation.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=installation.name("readings"),
            KeyConditionExpression="device = :d",
            ExpressionAttributeValues={":d": {"S": thing}},
            Select="COUNT",
            ConsistentRead=True,
        )
    )
    return sum(page["Count"] for page in pages)


def entry(installation: Installation, thing: str) -> dict[str, Any]:
    """A device's entry in the registry."""
    found = installation.client("dynamodb").get_item(
        TableName=installation.name("devices"), Key={"device": {"S": thing}}, ConsistentRead=True
    )
    return _item(found["Item"])


def parked(installation: Installation) -> list[dict[str, Any]]:
    """Every parked row."""
    pages = (
        installation.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=installation.name("parked"), ConsistentRead=True)
    )
    return [_item(item) for page in pages for item in page["Items"]]


def archived(installation: Installation, key: str, version: str) -> bytes:
    """An object of the archive in one version."""
    found = installation.client("s3").get_object(Bucket=installation.archive, Key=key, VersionId=version)
    body: bytes = found["Body"].read()
    return body


def quarantined(installation: Installation, key: str) -> dict[str, Any]:
    """An object of the quarantine: the whole rule event and the reason."""
    found = installation.client("s3").get_object(Bucket=installation.quarantine, Key=key)
    event: dict[str, Any] = json.loads(found["Body"].read())
    return event


def outbox(folder: Path) -> dict[int, bytes]:
    """The envelopes that a device signed, byte for byte, by number: read from its own outbox."""
    with sqlite3.connect(f"file:{folder / 'outbox.sqlite'}?mode=ro", uri=True) as database:
        return {int(number): bytes(envelope) for number, envelope in database.execute(OUTBOX_QUERY)}


# Kind 0 is telemetry (device/src/outbox).
OUTBOX_QUERY = "SELECT number, bytes FROM messages WHERE kind = 0 ORDER BY number"


def number(value: Any) -> Decimal:
    """A `num` of the formats, as cbor2 reads it."""
    return value if isinstance(value, Decimal) else Decimal(value)


def increase_of(document: bytes, sensor: str) -> Decimal:
    """A counter's increase in the cloud's summary document, from the bytes that the digests are over."""
    summaries = cbor2.loads(base64.b64decode(json.loads(document)["summaries_cbor"]))
    return next(number(summary.get(12, 0)) for summary in summaries if summary[0] == sensor)


def _item(item: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        found = _PLAIN.deserialize(value)
        if isinstance(found, Decimal):
            return int(found) if found == found.to_integral_value() else found
        return bytes(found) if hasattr(found, "value") else found

    return {name: plain(value) for name, value in item.items()}
