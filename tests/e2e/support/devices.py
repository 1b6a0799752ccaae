"""Devices: provisioned by the product, then played by an implementation of another origin."""

from __future__ import annotations

import base64
import datetime as dt
import json
import random
import secrets
import time
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from e2e.support.programs import VITRO, run, vitro
from outsider import Header, Key, block, parse, publish, seal, senml, vectors
from outsider.senml import Reading
from stack import Installation

TABLE: dict[str, Any] = {
    "version": 1,
    "sensors": [{"name": "energy", "unit": "kWh", "kind": "counter", "resets_normal": True}],
}
ZONE = "Etc/UTC"


def yesterday() -> str:
    """The last day that is over, in UTC."""
    return (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)).isoformat()


@dataclass
class Registrar:
    """Provisions devices of one installation under one authority."""

    installation: Installation
    folder: Path
    known: bool = field(default=False)
    shard: str = "north"

    def device(self, thing: str, sensors: Path | None = None, *more: str | Path) -> Device:
        """A new device, registered and active."""
        authority = self.folder / "ca"
        if not self.known:
            # Another test may have made the command key.
            run(self.installation, VITRO, "command-key", "new", "--json")
            since = (dt.datetime.now(dt.UTC) - dt.timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
            vitro(self.installation, "ca", "new", authority, "--name", f"CA of {thing}", "--not-before", since)
            vitro(self.installation, "ca", "register", authority)
            self.known = True
        if sensors is None:
            sensors = self.folder / "sensors.json"
            sensors.write_text(json.dumps(TABLE))
        since = (dt.datetime.now(dt.UTC) - dt.timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
        folder = self.folder / thing
        place = ["--metering-point", f"point-{thing}", "--zone", ZONE, "--shard", self.shard, "--sensors", sensors]
        place += ["--not-before", since, *more]
        vitro(self.installation, "device", "new", thing, "--ca", authority, "--out", folder, *place)
        return Device(self.installation, thing, folder)


@dataclass
class Device:
    """A provisioned device, its folder, and its chain of blocks as far as it was played here."""

    installation: Installation
    thing: str
    folder: Path
    chain: list[block.Block] = field(default_factory=list)

    @cached_property
    def key(self) -> Key:
        """Its private key."""
        return Key.from_pem(self.folder / "key.pem")

    @cached_property
    def principal(self) -> str:
        """Its certificate as AWS IoT names it."""
        found = self.installation.client("iot").list_thing_principals(thingName=self.thing)["principals"]
        return str(found[0].rpartition("/")[2])

    def envelope(self, number: int, value: Decimal | int = 1, millis: int | None = None) -> bytes:
        """A signed reading of its register."""
        at = int(time.time() * 1000) if millis is None else millis
        return seal(
            Header(self.thing, number),
            senml.write(self.thing, at, [Reading("energy", "kWh", Decimal(value))]),
            self.key,
        )

    def topic(self, kind: str = "telemetry") -> str:
        """The topic that the cloud sees a message under."""
        return publish.topic_of(self.installation.customer, self.thing, kind)

    def event(self, envelope: bytes, received: int, **changed: object) -> dict[str, object]:
        """What the rule makes of a published message; a value of None takes the field away."""
        event = {
            "envelope": base64.b64encode(envelope).decode(),
            "thing": self.thing,
            "topic": self.topic(),
            "client": self.thing,
            "principal": self.principal,
            "received": received,
        }
        return {name: value for name, value in (event | changed).items() if value is not None}

    def send(self, payloads: list[bytes], kind: str = "telemetry") -> None:
        """Publishes by MQTT over mutual TLS; every message is acknowledged when it returns."""
        info = self.installation.info
        topic = publish.topic_of(self.installation.customer, self.thing, kind, basic_ingest=True)
        publish.publish(info.mqtt_host, info.mqtt_port, self.folder, self.thing, topic, payloads, timeout=60)

    def day(self, day: str, count: int, seed: object) -> tuple[list[bytes], bytes, Decimal]:
        """A day of random increments and resets: its envelopes, its block message, and the register's increase."""
        rng, value = random.Random(f"{self.thing} {seed}"), Decimal(17)
        first = self.chain[-1].end if self.chain else 0
        start, end = block.bounds(day, ZONE)
        made = []
        for at in range(count):
            value = vectors.next_value(rng, value, Decimal(10_000))
            made.append(self.envelope(first + at, value, (start + at * (end - start) // count) * 1000))
        table, envelopes = senml.Table.from_json(TABLE), [parse(data) for data in made]
        described = block.Day(self.thing, day, ZONE, (start, end), envelopes, table)
        message = block.make(described, len(self.chain), self.chain, secrets.token_bytes(16), self.key)
        self.chain.append(block.open_message(message, self.thing, self.key.public))
        return made, message, increase_of(self.chain[-1])


def increase_of(sealed: block.Block) -> Decimal:
    """The increase of the register in a block that was opened."""
    value: Decimal = sealed.summaries[0][12].value
    return value
