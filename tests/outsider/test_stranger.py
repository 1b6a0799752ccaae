"""A stranger's device on the local stack: its files are from `vitro device new`, all else of this implementation."""

from __future__ import annotations

import base64
import datetime
import json
import random
import secrets
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import pytest

from outsider import Header, Key, attack, block, parse, publish, recording, seal, senml, vectors
from outsider.senml import Reading
from stack import Installation, wait

pytestmark = pytest.mark.e2e

REPO = Path(__file__).parents[2]
TABLE = {
    "version": 1,
    "sensors": [
        {"name": "energy", "unit": "kWh", "kind": "counter", "resets_normal": True},
        {"name": "temp", "unit": "Cel", "kind": "gauge"},
    ],
}


class Vitro:
    """The product's command line."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def __call__(self, *arguments: str | Path) -> Any:
        """Runs a command and returns its JSON."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Runs a command, whatever becomes of it."""
        command = [REPO / "target" / "debug" / "vitro", *arguments, "--json"]
        return subprocess.run(command, env=self.installation.environment(), capture_output=True, text=True)


@pytest.fixture
def vitro(installation: Installation) -> Vitro:
    """The command line for the tests' installation."""
    return Vitro(installation)


@pytest.fixture
def device(vitro: Vitro, unique: Callable[[str], str], tmp_path: Path) -> tuple[str, Path]:
    """A thing and its provisioned folder."""
    thing, sensors = unique("stranger"), tmp_path / "sensors.json"
    sensors.write_text(json.dumps(TABLE))
    vitro.run("command-key", "new")  # unless another test has made it
    vitro("ca", "new", tmp_path / "ca", "--name", f"CA of {thing}")
    vitro("ca", "register", tmp_path / "ca")
    place = ["--metering-point", f"point-{thing}", "--zone", "Etc/UTC", "--shard", "north", "--sensors", sensors]
    vitro("device", "new", thing, "--ca", tmp_path / "ca", "--out", tmp_path / thing, *place)
    return thing, tmp_path / thing


def envelopes_of(thing: str, key: Key, millis: int) -> list[bytes]:
    """One envelope in each way in which numbers, maps and times may be written."""
    base = {-2: f"{thing}/", -3: millis // 1000}
    fraction = cbor2.CBORTag(4, [-4, 30903])
    packs = [
        senml.write(thing, millis, [Reading("energy", "kWh", Decimal("3.0903")), Reading("temp", "Cel", None)]),
        cbor2.dumps([base | {6: 60.25, 0: "temp", 1: "Cel", 2: -7.69272}]),
        cbor2.dumps([{2: fraction, 1: "kWh", 0: "energy", 6: 120} | base]),
        cbor2.dumps([{**base, -4: "Cel", -5: 20}, {0: "temp", 2: 1.5, 6: 180}], canonical=True),
        cbor2.dumps([base | {0: "energy", 1: "kWh", 2: 2**63, 6: 240}]),
    ]
    return [seal(Header(thing, number), pack, key) for number, pack in enumerate(packs)]


def send(
    installation: Installation,
    device: tuple[str, Path],
    payloads: list[bytes],
    kind: str = "telemetry",
    basic_ingest: bool = True,
) -> None:
    """Publishes as the device."""
    thing, folder = device
    info, topic = installation.info, publish.topic_of(installation.customer, thing, kind, basic_ingest)
    publish.publish(info.mqtt_host, info.mqtt_port, folder, thing, topic, payloads)


def test_it_is_accepted_and_comes_back(installation: Installation, vitro: Vitro, device: tuple[str, Path]) -> None:
    thing, folder = device
    now = datetime.datetime.now(datetime.UTC)
    day, millis = now.date().isoformat(), int(now.timestamp()) // 86400 * 86_400_000
    sent = envelopes_of(thing, Key.from_pem(folder / "key.pem"), millis)

    def stored() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = vitro("readings", thing, "--day", day, "--envelopes")["envelopes"]
        return found

    # Garbage goes along; it takes no number and no place.
    send(installation, device, [*sent[:2], attack.forged(sent[0]), b"garbage", attack.flipped(sent[1])])
    send(installation, device, sent[2:], basic_ingest=False)
    wait.until("the envelopes to be stored", lambda: len(stored()) >= len(sent), 60)
    back = stored()
    assert [base64.b64decode(one["envelope"]) for one in back] == sent, "byte for byte"
    assert {one["signature"] for one in back} == {"good"}
    assert [one["leaf"] for one in back] == [parse(data).leaf.hex() for data in sent]
    said = [
        [(record["sensor"], record["unit"], record.get("value", "missing")) for record in one["records"]]
        for one in back[:4]
    ]
    assert said == [
        [("energy", "kWh", "3.0903"), ("temp", "Cel", "missing")],
        [("temp", "Cel", "-7.69272")],
        [("energy", "kWh", "3.0903")],
        [("temp", "Cel", "21.5")],
    ]
    assert back[1]["records"][0]["time"] == f"{day}T00:01:00.250Z"
    # The device is enrolled by now, after the midnight of which it tells; just after midnight that is no fault.
    flags = [[flag for flag in one["flags"] if flag != "before_enrolment"] for one in back]
    assert flags == [[], [], [], [], ["number_out_of_range"]]


def test_its_days_are_matched_and_come_out_as_the_recording_says(
    installation: Installation, vitro: Vitro, device: tuple[str, Path], tmp_path: Path
) -> None:
    """Two recorded days with random increments and resets, sealed here, agreed on by the product."""
    thing, folder = device
    key, rng = Key.from_pem(folder / "key.pem"), random.Random("stranger")
    today = datetime.datetime.now(datetime.UTC).date()
    chain: list[block.Block] = []
    previous: Decimal | None = None
    value = Decimal(17)
    for number, date in enumerate([today - datetime.timedelta(days=2), today - datetime.timedelta(days=1)]):
        interval = block.bounds(date.isoformat(), "Etc/UTC")
        recorded = tmp_path / f"{date}.csv"
        rows, made = ["time,register"], []
        for at in range(96):
            value = vectors.next_value(rng, value, Decimal(10_000))
            time = datetime.datetime.fromtimestamp(interval[0] + at * 900, datetime.UTC)
            rows.append(f"{time.isoformat()},{value}")
            pack = senml.write(thing, (interval[0] + at * 900) * 1000, [Reading("energy", "kWh", value)])
            made.append(seal(Header(thing, number * 96 + at), pack, key))
        recorded.write_text("\n".join(rows) + "\n")
        expected = recording.increase(recorded, "register", resets_normal=True, opening=previous)
        previous = value
        table, run = senml.Table.from_json(TABLE), [parse(data) for data in made]
        day = block.Day(thing, date.isoformat(), "Etc/UTC", interval, run, table)
        message = block.make(day, number, chain, secrets.token_bytes(16), key)
        chain.append(block.open_message(message, thing, key.public))

        send(installation, device, made)
        send(installation, device, [message], kind="block")

        def outcome(date: datetime.date = date) -> str | None:
            days = vitro("days", thing, "--from", date.isoformat(), "--limit", "1")
            return next(
                (str(day["outcome"]) for day in days if day["day"] == date.isoformat() and day["outcome"]), None
            )

        assert wait.until("the day to be compared", outcome, 90) == "matched"
        told = vitro("day", thing, date.isoformat())
        assert told["block"]["hash"] == chain[-1].hash.hex()
        for side in ("device_summaries", "cloud_summaries"):
            energy = next(one for one in told[side] if one["sensor"] == "energy")
            assert Decimal(energy["figures"]["increase"]) == expected, side
