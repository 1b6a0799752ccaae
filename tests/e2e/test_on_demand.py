"""Publishing on demand: whoever asks sees a device's day on the ledger within a minute, with every policy enforced."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import VISIBILITY
from e2e.support import observe, whole_day
from e2e.support.devices import Device, Registrar, yesterday
from e2e.support.on_demand import asked_day, on_ledger
from e2e.support.parties import Parties
from e2e.support.programs import AGENT, VITRO, run, vitro
from stack import Installation, Stack, StackConfig, wait
from stack.model import REPO

pytestmark = pytest.mark.e2e
SECONDS = 60.0
EXPIRED = 3
RECORDING = REPO / "recordings" / "midc-2018-10-14.csv"


@pytest.fixture(scope="module")
def registrar(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Registrar:
    """Provisions devices where policies are enforced."""
    auth_installation.set_visibility(VISIBILITY)
    return Registrar(auth_installation, tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="module")
def parties(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """The four parties on that installation's ledger."""
    return Parties(auth_installation, tmp_path_factory.mktemp("parties"))


@contextmanager
def running(device: Device, folder: Path) -> Iterator[Path]:
    """The agent of a device, connected, with a reading in the cloud; gives its log."""
    log = folder / f"{device.thing}-{secrets.token_hex(4)}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [AGENT, "--folder", device.folder, "run", "--recording", RECORDING],
            env={"PATH": "/usr/bin:/bin", **device.installation.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            wait.until("the agent to be connected", lambda: "connected" in log.read_text(), SECONDS, 0.1)
            wait.until(
                "its first reading", lambda: 0 in observe.readings(device.installation, device.thing), SECONDS, 0.2
            )
            yield log
            assert process.poll() is None, "it lives on, whatever it is asked"
        finally:
            process.terminate()
            process.wait(20)


def meter(registrar: Registrar, parties: Parties, thing: str, *more: str) -> Device:
    """A device on the ledger whose agent reads every two seconds."""
    device = registrar.device(thing, RECORDING.with_suffix(".toml"), "--poll-interval", "2", *more)
    parties.register(thing)
    return device


def publish(parties: Parties, thing: str, *arguments: str, party: str = "dv") -> subprocess.CompletedProcess[str]:
    """`vitro device publish` as a party."""
    profile = parties.profiles[party]
    return run(parties.installation, VITRO, "device", "publish", thing, "--profile", profile, *arguments, "--json")


def answered(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What was put on the ledger."""
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ask(installation: Installation, thing: str) -> None:
    """An ask as a message, without looking at the ledger."""
    observe.put(installation, "asks", [json.dumps({"thing": thing, "by": "a test"})])


def archived(installation: Installation, thing: str) -> set[str]:
    """The keys of a device's accepted blocks."""
    pages = installation.client("s3").get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=installation.archive, Prefix=f"blocks/{thing}/")
    return {item["Key"] for page in found for item in page.get("Contents", [])}


@pytest.mark.parametrize("confidential", [False, True])
def test_asked_it_is_on_the_ledger_within_a_minute(
    registrar: Registrar, parties: Parties, unique: Callable[[str], str], tmp_path: Path, confidential: bool
) -> None:
    installation = parties.installation
    more = []
    if confidential:
        registrar.device(unique("first"))
        made = run(installation, VITRO, "data-key", "new", "--json")
        assert made.returncode == 0 or "rotate" in made.stderr, made.stderr
        more = ["--confidential"]
    device = meter(registrar, parties, unique("meter"), *more)
    with running(device, tmp_path):
        asked = answered(publish(parties, device.thing))
    found = asked["block"]
    print(f"on the ledger {found['seconds']} s after it was asked for (confidential: {confidential})")
    assert found["seconds"] < 60
    assert found["sealed_at"] >= asked["asked_at"][:19]
    assert found["count"] > 0
    assert {one["sensor"] for one in found["summaries"]} == {one["name"] for one in sensors(device)}
    told = parties.call("sp", "transaction", found["transaction"])
    assert found["transaction"] in json.dumps(told)
    # The reading is part of what was put there: the operator makes the proof, a party holds it against its own peer.
    number, proof = found["first"] + found["count"] - 1, tmp_path / "proof.json"
    block_number = str(found["number"])
    made = vitro(installation, "proof", "reading", device.thing, str(number), "--block", block_number, "--out", proof)
    assert (made["root"], made["block"]["hash"]) == (found["root"], found["hash"])
    profile = parties.profiles["rc"]
    assert vitro(installation, "proof", "check", proof, "--profile", profile)["leaf"] == made["leaf"]
    forged = json.loads(proof.read_text())
    forged["path"] = ["00" * 32, *forged["path"][1:]]
    proof.write_text(json.dumps(forged))
    refused = run(installation, VITRO, "proof", "check", proof, "--profile", profile)
    assert refused.returncode == 1, refused.stdout
    assert "not_included" in refused.stderr
    as_it_came = f"blocks/{device.thing}/{found['number']:010}.confidential.cbor"
    assert (as_it_came in archived(installation, device.thing)) == confidential


def sensors(device: Device) -> list[dict[str, Any]]:
    """The sensors of a device's newest table."""
    row = observe.row(device.installation, "devices", device=device.thing)
    tables: list[dict[str, Any]] = json.loads(row["sensor_tables"])
    found: list[dict[str, Any]] = tables[-1]["sensors"]
    return found


def test_asks_at_once_are_answered_together(
    registrar: Registrar, parties: Parties, unique: Callable[[str], str], tmp_path: Path
) -> None:
    device = meter(registrar, parties, unique("meter"))
    before = parties.installation.metric("SealsAsked")
    done: list[subprocess.CompletedProcess[str]] = []
    with running(device, tmp_path):
        askers = [
            threading.Thread(target=lambda party=party: done.append(publish(parties, device.thing, party=party)))
            for party in ("operator", "rc", "dv", "sp")
        ]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    answers = [answered(one) for one in done]
    blocks = {one["block"]["number"] for one in answers}
    print(f"four asks at once: blocks {sorted(blocks)}, after {sorted(one['block']['seconds'] for one in answers)} s")
    # Those who came after the first command share the next one.
    assert len(blocks) <= 2
    installation = parties.installation
    assert len(archived(installation, device.thing)) <= 2
    wait.until("the metric", lambda: 1 <= installation.metric("SealsAsked") - before <= 2, 20, 0.5)


def test_a_device_that_is_away_is_told_and_seals_nothing_later(
    registrar: Registrar, parties: Parties, unique: Callable[[str], str], tmp_path: Path
) -> None:
    device = meter(registrar, parties, unique("meter"))
    with running(device, tmp_path):
        pass
    done = publish(parties, device.thing, "--wait", "5")
    assert done.returncode == 75, done.stdout
    command = re.search(rf"vitro device reply {device.thing} ([0-9a-f]{{32}})", done.stderr)
    assert command, done.stderr
    # The ask holds for five seconds from when it was sent, and to the end of that second.
    over = time.time() + 2
    wait.until("the ask to be over", lambda: time.time() > over, 5, 0.1)
    # Back again, it hears of the ask, and that nobody waits any more.
    with running(device, tmp_path):
        reply: dict[str, Any] = {}

        def replied() -> bool:
            found = run(parties.installation, VITRO, "device", "reply", device.thing, command[1], "--json")
            reply.update(json.loads(found.stdout) if found.returncode == 0 else {})
            return bool(reply)

        wait.until("the device's reply", replied, SECONDS, 0.5)
    assert reply["status"] == EXPIRED
    assert archived(parties.installation, device.thing) == set()


def test_what_cannot_be_asked_is_told(registrar: Registrar, parties: Parties, unique: Callable[[str], str]) -> None:
    installation = parties.installation
    dead = installation.waiting("asks-dlq")
    suspended, unknown = registrar.device(unique("suspended")), unique("unknown")
    parties.register(suspended.thing)
    vitro(installation, "device", "suspend", suspended.thing)
    done = publish(parties, suspended.thing)
    assert (done.returncode, "suspended" in done.stderr) == (1, True), done.stderr
    done = publish(parties, unknown)
    assert done.returncode == 3, done.stderr
    # Who does not look at the ledger first is refused by the stack.
    for thing in (suspended.thing, unknown, suspended.thing):
        ask(installation, thing)
    for thing, reason in ((suspended.thing, "device_suspended"), (unknown, "unknown_device")):
        rows = wait.until(f"{reason} to be parked", lambda t=thing: observe.parked(installation, t), SECONDS, 0.2)
        assert [(row["reason"], row["state"]) for row in rows] == [(reason, "open")]
        assert "asked for an interim block" in rows[0]["detail"]
        entry = f"{reason}/{rows[0]['id']}"
        replay = run(installation, VITRO, "quarantine", "replay", entry)
        assert replay.returncode == 1, replay.stdout
        assert "asks again" in replay.stderr
        vitro(installation, "quarantine", "drop", entry, "--why", "a test")
    observe.put(installation, "asks", ["nonsense"])
    table = installation.client("dynamodb")

    def nonsense() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = table.query(
            TableName=installation.name("parked"),
            KeyConditionExpression="reason = :r",
            ExpressionAttributeValues={":r": {"S": "not_an_ask"}},
        )["Items"]
        return found

    wait.until("nonsense to be parked", nonsense, SECONDS, 0.2)
    assert installation.waiting("asks-dlq") == dead


def test_the_daily_block_covers_the_whole_day_later(
    registrar: Registrar, parties: Parties, unique: Callable[[str], str]
) -> None:
    installation, day, agreement = parties.installation, yesterday(), unique("agreement")
    device = registrar.device(unique("meter"))
    parties.register(device.thing)
    parties.agree(agreement, [f"point-{device.thing}"], day, "0.25")
    asked = asked_day(device, day, 24, "on demand")
    device.send(asked.envelopes)
    device.send([asked.interim], "block")
    first = wait.until("the interim block", lambda: on_ledger(installation, device.thing, 0), SECONDS, 0.5)
    assert first["outcome"] == "no-block"
    device.send([asked.whole], "block")
    row = whole_day.published(installation, device.thing, day)
    assert (row["outcome"], row["first"], row["count"]) == ("matched", 0, 24)
    told = parties.call("dv", "day", device.thing, day)
    assert (told["outcome"], told["continuity"], told["block"]["number"]) == ("agrees", "continues", 1)
    # Both hold the reading.
    again = on_ledger(installation, device.thing, 0)
    assert again
    assert again["block"] == first["block"]
    daily = vitro(installation, "proof", "reading", device.thing, "0", "--day", day)
    assert (daily["leaf"], daily["block"]["number"]) == (first["leaf"], 1)
    issued = installation.invoke("bill", {"agreement": agreement, "from": day, "to": day})
    statement = parties.call("dv", "statement", issued["statement"])["statement"]
    (line,) = statement["lines"]
    assert Decimal(line["quantity"]) == asked.increase


def test_a_ledger_that_is_away_gets_it_later(
    registrar: Registrar, parties: Parties, unique: Callable[[str], str], tmp_path: Path
) -> None:
    installation = parties.installation
    device = meter(registrar, parties, unique("meter"))
    stack = Stack(StackConfig(state_dir=Path(installation.info.state_dir), auth=True))

    def failures() -> int:
        return sum("has to come again" in line for line in installation.logs("publish"))

    failed = failures()
    assert stack.ledger.stop()
    try:
        with running(device, tmp_path):
            ask(installation, device.thing)
            wait.until("the interim block", lambda: archived(installation, device.thing), SECONDS, 0.2)
        wait.until("publish to fail", lambda: failures() > failed, 90, 0.5)
        done = publish(parties, device.thing, "--wait", "1")
        assert done.returncode == 75, done.stderr
    finally:
        stack.restart_ledger()
    found = wait.until("it to be on the ledger", lambda: on_ledger(installation, device.thing, 0), SECONDS, 0.5)
    assert found["block"]["number"] == 0
    assert observe.parked(installation, device.thing) == []
