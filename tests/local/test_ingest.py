"""Telemetry by MQTT, rule and queue through `ingest` into the time series, signed by another implementation.

Here every policy is enforced: what `ingest` does, its role lets it do. `tests/e2e` has the depth. Registry entries are written here as `docs/storage.md` has them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local.device import Connection, provision
from outsider import attack, envelope, senml
from outsider.envelope import Header
from outsider.keys import Key
from stack import Installation, wait

pytestmark = pytest.mark.e2e

SENSORS = {"version": 1, "sensors": [{"name": "energy", "unit": "kWh", "kind": "counter", "resets_normal": True}]}
SECONDS = 60.0


@dataclass
class Meter:
    """A registered device that is connected."""

    installation: Installation
    thing: str
    key: Key
    connection: Connection

    def message(self, number: int) -> bytes:
        """A well-signed envelope of one reading, a minute a number before now."""
        millis = int(time.time()) // 60 * 60_000 - (2000 - number) * 1000
        reading = senml.Reading("energy", "kWh", Decimal(number) / 100)
        return envelope.seal(Header(self.thing, number), senml.write(self.thing, millis, [reading]), self.key)

    def publish(self, *messages: bytes) -> None:
        """Publishes on the device's topic, by Basic Ingest."""
        customer = self.installation.customer
        topic = f"$aws/rules/vitro_{customer}_telemetry/vitro/{customer}/{self.thing}/telemetry"
        for message in messages:
            assert self.connection.publish(topic, message)

    def readings(self) -> list[dict[str, Any]]:
        """What is stored, in order of number."""
        pages = self.installation.client("dynamodb").get_paginator("query")
        found = pages.paginate(
            TableName=self.installation.name("readings"),
            KeyConditionExpression="device = :device",
            ExpressionAttributeValues={":device": {"S": self.thing}},
            ConsistentRead=True,
        )
        return [item for page in found for item in page["Items"]]

    def parked(self) -> dict[str, list[dict[str, Any]]]:
        """Parked rows of this device by reason."""
        items = self.installation.client("dynamodb").scan(TableName=self.installation.name("parked"))["Items"]
        rows: dict[str, list[dict[str, Any]]] = {}
        for item in items:
            if item.get("device", {}).get("S") == self.thing:
                rows.setdefault(item["reason"]["S"], []).append(item)
        return rows

    def stored(self, count: int) -> list[dict[str, Any]]:
        """Waits until so many are stored."""
        wait.until(f"{count} readings of {self.thing}", lambda: len(self.readings()) >= count, SECONDS)
        return self.readings()


def register(installation: Installation, thing: str, folder: Path, **changes: Any) -> Meter:
    """Provisions and registers a device and connects it."""
    device = provision(installation, thing, folder)
    key = Key.from_pem(folder / "key.pem")
    entry = {
        "device": {"S": thing},
        "status": {"S": "active"},
        "public_key": {"B": key.public},
        "certificate": {"S": (folder / "certificate.pem").read_text()},
        "certificate_id": {"S": device.certificate_arn.rsplit("/", 1)[1]},
        "metering_point": {"S": f"mp-{thing}"},
        "zone": {"S": "Etc/GMT+7"},
        "shard": {"S": "north"},
        "sensor_tables": {"S": json.dumps([SENSORS])},
        **changes,
    }
    installation.client("dynamodb").put_item(TableName=installation.name("devices"), Item=entry)
    connection = device.connect()
    assert connection.outcome()
    return Meter(installation, thing, key, connection)


@pytest.fixture
def meter(auth_installation: Installation, unique: Callable[[str], str], tmp_path: Path) -> Iterator[Meter]:
    meter = register(auth_installation, unique("meter"), tmp_path)
    yield meter
    meter.connection.close()


def test_each_message_gets_its_own_verdict(meter: Meter, unique: Callable[[str], str], tmp_path: Path) -> None:
    good = [meter.message(number) for number in range(5)]
    meter.publish(*good)
    assert [bytes(item["envelope"]["B"]) for item in meter.stored(5)] == good
    # Every instance of the function knows that the first number is used; the newest ones are another matter (docs/reasons.md).
    expected = {
        "bad_signature": attack.forged(meter.message(7)),
        "altered_copy": attack.flipped(good[2]),
        "other_device": attack.other_device(good[1], "another", meter.key),
        "trailing_bytes": good[0] + b"\0",
        "not_an_envelope": b"{}",
        "equivocation": attack.equivocation(good[0], meter.key),
    }
    # The equivocation comes last: it suspends the device.
    others = list(expected.values())
    meter.publish(*others[:-1], good[0], attack.nonsense(meter.thing, 5, meter.key), others[-1])
    wait.until("the verdicts", lambda: meter.parked().keys() == expected.keys(), SECONDS)
    items = meter.stored(7)
    assert len(items) == 7, "five, the nonsense, and the evidence; no copy of the replay"
    flags = {int.from_bytes(bytes(item["key"]["B"])[:8], "big"): item.get("flags") for item in items}
    assert flags[5] == {"SS": ["unreadable_pack"]}
    for reason, rows in meter.parked().items():
        assert len(rows) == 1, reason
        if reason != "equivocation":
            where = {"Bucket": rows[0]["bucket"]["S"], "Key": rows[0]["key"]["S"]}
            document = json.loads(meter.installation.client("s3").get_object(**where)["Body"].read())
            assert document["reason"] == reason
            assert document["event"]["thing"] == meter.thing
            assert document["event"]["envelope"]
    assert meter.installation.waiting("telemetry-dlq") == 0


def test_a_suspended_device_and_a_stranger_are_refused(
    auth_installation: Installation, unique: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    suspended = register(auth_installation, unique("meter"), tmp_path / "a", status={"S": "suspended"})
    stranger = register(auth_installation, unique("meter"), tmp_path / "b")
    auth_installation.client("dynamodb").delete_item(
        TableName=auth_installation.name("devices"), Key={"device": {"S": stranger.thing}}
    )
    for meter, reason in ((suspended, "device_suspended"), (stranger, "unknown_device")):
        meter.publish(meter.message(0))
        wait.until(reason, lambda meter=meter: list(meter.parked()), SECONDS)
        assert list(meter.parked()) == [reason]
        assert meter.readings() == []
        meter.connection.close()
