"""What was refused is looked at again or given up, and devices are suspended for what they sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.support import observe
from e2e.support.devices import Device, Registrar, yesterday
from e2e.support.programs import VITRO, run, vitro
from outsider import Header, Key, attack, parse, seal
from stack import Installation, wait

pytestmark = pytest.mark.e2e
SECONDS = 60.0


def entry(installation: Installation, thing: str) -> dict[str, Any]:
    """The registry's entry of a device."""
    return observe.row(installation, "devices", device=thing)


def waiting(installation: Installation, thing: str) -> dict[str, list[dict[str, Any]]]:
    """What the command line says waits of a device, by reason; without what a ledger refuses that does not know it."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in vitro(installation, "quarantine", "list", "--thing", thing):
        if observe.by_the_stack(row):
            rows.setdefault(row["reason"], []).append(row)
    return rows


def parked(installation: Installation, thing: str, reason: str, count: int = 1) -> list[dict[str, Any]]:
    """Waits until so many rows of a reason wait."""

    def found() -> list[dict[str, Any]] | None:
        rows = waiting(installation, thing).get(reason, [])
        return rows if len(rows) >= count else None

    return wait.until(f"{count} {reason} of {thing}", found, SECONDS, 0.3)


def suspend(installation: Installation, thing: str) -> None:
    """Suspends a device in the registry from now on, as an operator does."""
    now = int(time.time() * 1000)
    installation.client("dynamodb").update_item(
        TableName=installation.name("devices"),
        Key={"device": {"S": thing}},
        UpdateExpression="SET #s = :s, suspended_at = :at, cause = :c",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": {"S": "suspended"}, ":at": {"N": str(now)}, ":c": {"S": "operator"}},
    )


def activate(installation: Installation, thing: str) -> None:
    """Lifts it."""
    installation.client("dynamodb").update_item(
        TableName=installation.name("devices"),
        Key={"device": {"S": thing}},
        UpdateExpression="SET #s = :s REMOVE suspended_at, cause",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": {"S": "active"}},
    )
    installation.kill("ingest")


def test_what_was_refused_meanwhile_is_stored_after_the_reinstatement(
    installation: Installation, device: Device
) -> None:
    """A day of a device that is suspended for part of it, by an operator's mistake: it ends `matched`."""
    sent, message, _ = device.day(yesterday(), 6, "suspended")
    device.send(sent[:2])
    wait.until("the first", lambda: len(observe.readings(installation, device.thing)) == 2, SECONDS, 0.2)
    suspend(installation, device.thing)
    installation.kill("ingest")
    device.send(sent[2:4])
    parked(installation, device.thing, "device_suspended", 2)
    device.send([message], "block")
    parked(installation, device.thing, "device_suspended", 3)
    activate(installation, device.thing)
    device.send(sent[4:])
    wait.until("the last", lambda: len(observe.readings(installation, device.thing)) == 4, SECONDS, 0.2)

    which = ["--reason", "device_suspended", "--thing", device.thing]
    shown = vitro(installation, "quarantine", "replay", *which, "--dry-run")
    assert [row["outcome"] for row in shown] == ["open"] * 3
    for count in ([], ["--count", "2"]):
        refused = run(installation, VITRO, "quarantine", "replay", *which, *count)
        assert (refused.returncode, "3 entries fit" in refused.stderr) == (1, True), refused.stderr
    assert len(observe.readings(installation, device.thing)) == 4, "nothing was done"
    done = vitro(installation, "quarantine", "replay", *which, "--count", "3")
    assert sorted((row["outcome"], row["queue"]) for row in done) == [
        ("replayed", "blocks"),
        ("replayed", "telemetry"),
        ("replayed", "telemetry"),
    ]
    settled = observe.settled(installation, device.thing, yesterday())
    assert settled["outcome"] == "matched"
    assert observe.readings(installation, device.thing) == {at: [data] for at, data in enumerate(sent)}
    assert waiting(installation, device.thing) == {}
    row = vitro(installation, "quarantine", "show", f"device_suspended/{done[0]['id']}")
    assert (row["state"], row["replays"]) == ("replayed", 1)
    assert row["decided"]["by"].startswith("arn:aws:")
    # Nothing waits any more, so there is nothing to confirm.
    assert run(installation, VITRO, "quarantine", "replay", *which, "--count", "1").returncode == 1


def test_what_is_refused_again_is_open_again(installation: Installation, device: Device) -> None:
    data = attack.forged(device.envelope(0), Key.generate())
    device.send([data])
    (row,) = parked(installation, device.thing, "bad_signature")
    before = installation.metric("Refused", "bad_signature")
    for replays in (1, 2):
        (done,) = vitro(installation, "quarantine", "replay", row["id"])
        assert done["outcome"] in ("replayed", "refused again")
        wait.until(
            "it to be refused again",
            lambda n=replays: installation.metric("Refused", "bad_signature") == before + n,
            SECONDS,
            0.3,
        )
        (again,) = parked(installation, device.thing, "bad_signature")
        assert (again["id"], again["state"], again["replays"]) == (row["id"], "open", replays)
    assert len(observe.parked(installation, device.thing)) == 1, "one row, however often it is tried"

    # Given up: it stays, with who, when and why, and what comes again does not open it.
    assert run(installation, VITRO, "quarantine", "drop", row["id"]).returncode == 2, "a drop says why"
    (dropped,) = vitro(installation, "quarantine", "drop", row["id"], "--why", "a test rig")
    assert dropped["outcome"] == "dropped"
    assert waiting(installation, device.thing) == {}
    shown = vitro(installation, "quarantine", "show", row["id"])
    assert (shown["state"], shown["decided"]["why"]) == ("dropped", "a test rig")
    assert shown["stored"]["event"]["thing"] == device.thing
    (kept,) = vitro(installation, "quarantine", "drop", row["id"], "--why", "again")
    assert kept["outcome"] == "kept"
    assert run(installation, VITRO, "quarantine", "replay", "000000000000000-0000000000000000").returncode == 3


def test_a_replay_that_was_cut_short_still_waits(installation: Installation, device: Device) -> None:
    """As a kill between noting it and sending it leaves the row."""
    suspend(installation, device.thing)
    data = device.envelope(0)
    device.send([data])
    (row,) = parked(installation, device.thing, "device_suspended")
    activate(installation, device.thing)
    installation.client("dynamodb").update_item(
        TableName=installation.name("parked"),
        Key={"reason": {"S": "device_suspended"}, "id": {"S": row["id"]}},
        UpdateExpression="SET #s = :s",
        ExpressionAttributeNames={"#s": "state"},
        ExpressionAttributeValues={":s": {"S": "replaying"}},
    )
    (found,) = parked(installation, device.thing, "device_suspended")
    assert found["state"] == "replaying"
    which = ["--reason", "device_suspended", "--thing", device.thing, "--count", "1"]
    (done,) = vitro(installation, "quarantine", "replay", *which)
    assert done["outcome"] == "replayed"
    wait.until("it to be stored", lambda: observe.readings(installation, device.thing) == {0: [data]}, SECONDS, 0.2)


def test_an_equivocation_suspends_and_is_no_message_that_waits(installation: Installation, device: Device) -> None:
    sent = [device.envelope(number) for number in range(3)]
    # In one batch: the registry's mark is then the last of them, and whichever environment comes next looks the number up. Beyond the
    # mark, an environment that did not store the first one sees the second at the close of the day only.
    with observe.held_back(installation, "telemetry"):
        device.send(sent)
        wait.until("the rule to deliver them", lambda: installation.waiting("telemetry") >= 3, SECONDS, 0.2)
    wait.until("them", lambda: len(observe.readings(installation, device.thing)) == 3, SECONDS, 0.2)
    device.send([attack.equivocation(sent[1], device.key)])
    wait.until("the suspension", lambda: entry(installation, device.thing)["status"] == "suspended", SECONDS, 0.2)
    found = entry(installation, device.thing)
    assert (found["cause"], found["last_good"]) == ("equivocation", 0)
    iot = installation.client("iot")

    def certificate() -> str:
        described = iot.describe_certificate(certificateId=found["certificate_id"])
        return str(described["certificateDescription"]["status"])

    wait.until("AWS IoT to agree", lambda: certificate() == "INACTIVE", SECONDS, 0.5)
    (row,) = parked(installation, device.thing, "equivocation")
    refused = run(installation, VITRO, "quarantine", "replay", f"equivocation/{row['id']}")
    assert (refused.returncode, "nothing that waits" in refused.stderr) == (1, True), refused.stderr
    (dropped,) = vitro(installation, "quarantine", "drop", f"equivocation/{row['id']}", "--why", "cloned; replaced")
    assert dropped["outcome"] == "dropped"
    assert len(observe.readings(installation, device.thing)[1]) == 2, "the evidence stays"


def test_nobody_else_can_have_a_device_suspended(
    installation: Installation, registrar: Registrar, unique: Callable[[str], str]
) -> None:
    """Thirty bad signatures by other connections do nothing; ten in a row by its own suspend it."""
    device, other = registrar.device(unique("meter")), registrar.device(unique("other"))
    thief, now = Key.generate(), int(time.time() * 1000)
    good = device.envelope(0)
    device.send([good])
    wait.until("its reading", lambda: observe.readings(installation, device.thing) == {0: [good]}, SECONDS, 0.2)
    strange = [
        {"principal": other.principal},
        {"client": other.thing},
        {"principal": None},
    ]
    bodies = [
        json.dumps(device.event(attack.forged(device.envelope(1), thief), now + 10 * at + which, **changed))
        for at in range(10)
        for which, changed in enumerate(strange)
    ]
    # And copies of its good envelope that somebody altered on the way, under its own connection.
    bodies += [json.dumps(device.event(attack.flipped(good), now + 500 + at)) for at in range(12)]
    observe.put(installation, "telemetry", bodies)
    parked(installation, device.thing, "altered_copy", 12)
    parked(installation, device.thing, "other_certificate", 20)
    found = entry(installation, device.thing)
    assert (found["status"], "signature_failures" in found) == ("active", False)

    forged = [
        attack.forged(seal(Header(device.thing, 2 + at), parse(good).payload, device.key), thief) for at in range(10)
    ]
    device.send(forged[:9])
    wait.until(
        "nine to be noted",
        lambda: len(entry(installation, device.thing).get("signature_failures", ())) == 9,
        SECONDS,
        0.2,
    )
    assert entry(installation, device.thing)["status"] == "active"
    device.send(forged[9:])
    wait.until("the suspension", lambda: entry(installation, device.thing)["status"] == "suspended", SECONDS, 0.2)
    found = entry(installation, device.thing)
    assert (found["cause"], found["last_good"]) == ("signature_failures", 0)
    assert entry(installation, other.thing)["status"] == "active"


def test_two_blocks_under_one_number_suspend(installation: Installation, device: Device, tmp_path: Path) -> None:
    sent, message, _ = device.day(yesterday(), 6, "one")
    device.send(sent)
    device.send([message], "block")
    assert observe.settled(installation, device.thing, yesterday())["outcome"] == "matched"
    again = Device(installation, device.thing, device.folder)
    _, second, _ = again.day(yesterday(), 5, "another")
    device.send([second], "block")
    wait.until("the suspension", lambda: entry(installation, device.thing)["status"] == "suspended", SECONDS, 0.2)
    found = entry(installation, device.thing)
    assert found["cause"] == "equivocation"
    assert "last_good" not in found, "the blocks' run begins with number 0"
