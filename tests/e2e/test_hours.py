"""Signs of life: every hour the ledger hears how many of a shard's devices were heard of, with every policy enforced."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import VISIBILITY
from e2e.support import observe
from e2e.support.devices import Device, Registrar
from e2e.support.parties import Parties
from e2e.support.programs import VITRO, run, vitro
from stack import Installation, Stack, StackConfig, wait

pytestmark = pytest.mark.e2e
SECONDS = 60.0
# As in heartbeat: an hour is looked at so long after its end.
GRACE = 120


@pytest.fixture(scope="module")
def parties(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """The four parties on the ledger of an installation where policies are enforced."""
    auth_installation.set_visibility(VISIBILITY)
    return Parties(auth_installation, tmp_path_factory.mktemp("parties"))


@pytest.fixture
def shard(parties: Parties, unique: Callable[[str], str], tmp_path: Path) -> Registrar:
    """A shard of this test alone, as who provisions devices in it."""
    return Registrar(parties.installation, tmp_path, shard=unique("shard"))


def last_hour() -> int:
    """The first second of the last hour that is looked at."""
    return (int(time.time()) - GRACE) // 3600 * 3600 - 3600


def instant(second: int) -> str:
    """A Unix second as the command line takes it."""
    return dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def heard(device: Device, *received: int) -> None:
    """Lets the rule deliver readings that it saw at these Unix seconds."""
    bodies = [
        json.dumps(device.event(device.envelope(number, 10 + number, second * 1000), second * 1000))
        for number, second in enumerate(received)
    ]
    observe.put(device.installation, "telemetry", bodies)
    stored = lambda: len(observe.readings(device.installation, device.thing)) == len(received)  # noqa: E731
    wait.until("the readings to be stored", stored, SECONDS, 0.2)


def said(parties: Parties, shard: str, hour: int, party: str = "dv") -> dict[str, Any] | None:
    """What the ledger has of a shard's hour, as a party sees it."""
    answer = parties.call(party, "hours", shard, "--from", instant(hour), "--to", instant(hour))
    return answer["hours"][0] if answer["hours"] else None


def row(installation: Installation, shard: str, hour: int) -> dict[str, Any]:
    """The row of a shard's hour."""
    found = installation.client("dynamodb").get_item(
        TableName=installation.name("hours"), Key={"shard": {"S": shard}, "hour": {"N": str(hour)}}
    )
    item: dict[str, Any] = found.get("Item", {})
    return item


def test_an_hour_is_said_by_schedule_and_proven(
    parties: Parties, shard: Registrar, unique: Callable[[str], str], tmp_path: Path
) -> None:
    installation, hour = parties.installation, last_hour()
    spoken, quiet, never = (shard.device(unique(name)) for name in ("spoken", "quiet", "never"))
    parties.register(spoken.thing, quiet.thing, never.thing)
    heard(spoken, hour + 60, hour + 3599, hour + 3601)
    heard(quiet, hour - 1)
    # Nobody can turn the emulator's clock, so a copy of the schedule is due at once.
    scheduler = installation.client("scheduler")
    scheduler.create_schedule(
        Name=unique("hours"),
        ScheduleExpression="at(2020-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=scheduler.get_schedule(Name=installation.name("hours"))["Target"],
        ActionAfterCompletion="DELETE",
    )
    view = wait.until("the hour to be said", lambda: said(parties, shard.shard, hour), 120, 0.5)
    assert (view["alive"]["alive"], view["alive"]["silent"]) == (1, 2)
    # A party holds what was said of each device against the ledger.
    proofs = {}
    for device in (spoken, quiet, never):
        file = tmp_path / f"{device.thing}.json"
        vitro(installation, "proof", "alive", device.thing, "--hour", instant(hour + 7), "--out", file)
        proofs[device.thing] = vitro(installation, "proof", "check", file, "--profile", parties.profiles["rc"])
        assert proofs[device.thing]["hour"] == view
    told = {thing: (proof["sign"]["alive"], proof["sign"]["number"]) for thing, proof in proofs.items()}
    assert told == {spoken.thing: (True, 1), quiet.thing: (False, 0), never.thing: (False, None)}
    (value,) = proofs[spoken.thing]["sign"]["values"]
    assert value == {"sensor": "energy", "unit": "kWh", "value": "11"}
    forged = json.loads((tmp_path / f"{quiet.thing}.json").read_text())
    forged["sign"]["alive"] = True
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    refused = run(installation, VITRO, "proof", "check", tmp_path / "forged.json", "--profile", parties.profiles["dv"])
    assert (refused.returncode, "not_included" in refused.stderr) == (1, True), refused.stderr
    # The hours before it, which nobody said in time, were said as well.
    before = wait.until("the hour before", lambda: said(parties, shard.shard, hour - 3600), SECONDS, 0.5)
    assert (before["alive"]["alive"], before["alive"]["silent"]) == (1, 2)
    # What comes late, and a second look, change nothing of it.
    heard_late = json.dumps(never.event(never.envelope(0), (hour + 5) * 1000))
    observe.put(installation, "telemetry", [heard_late])
    wait.until("it to be stored", lambda: observe.readings(installation, never.thing), SECONDS, 0.2)
    again = installation.invoke("heartbeat", {"hours": True, "back": 2})
    assert [found for found in again["found"] if found["shard"] == shard.shard] == []
    assert said(parties, shard.shard, hour) == view


def test_what_was_found_is_said_although_its_message_was_lost(
    parties: Parties, shard: Registrar, unique: Callable[[str], str]
) -> None:
    installation, hour = parties.installation, last_hour()
    device = shard.device(unique("meter"))
    parties.register(device.thing)
    heard(device, hour + 60)
    with observe.held_back(installation, "publish"):
        installation.invoke("heartbeat", {"hours": True, "back": 1})
        installation.client("sqs").purge_queue(QueueUrl=installation.queue_url("publish"))
    found = row(installation, shard.shard, hour)
    assert "tx" not in found
    # The device is heard of after all; what was archived is said, not what would be found now.
    other = shard.device(unique("other"))
    parties.register(other.thing)
    heard(other, hour + 90)
    # An hour later, which no test waits for.
    installation.client("dynamodb").update_item(
        TableName=installation.name("hours"),
        Key={"shard": {"S": shard.shard}, "hour": {"N": str(hour)}},
        UpdateExpression="SET #f = :f",
        ExpressionAttributeNames={"#f": "found"},
        ExpressionAttributeValues={":f": {"N": str(int(found["found"]["N"]) - 3_700_000)}},
    )
    looked = installation.invoke("heartbeat", {"hours": True, "back": 1})
    assert looked["again"] >= 1
    view = wait.until("the hour to be said", lambda: said(parties, shard.shard, hour), SECONDS, 0.5)
    assert (view["alive"]["alive"], view["alive"]["silent"]) == (1, 0)
    noted = wait.until("its row", lambda: row(installation, shard.shard, hour).get("tx"), SECONDS, 0.2)
    assert noted["S"] == view["tx"]


def test_a_ledger_that_is_away_hears_it_later(parties: Parties, shard: Registrar, unique: Callable[[str], str]) -> None:
    installation, hour = parties.installation, last_hour()
    device = shard.device(unique("meter"))
    parties.register(device.thing)
    heard(device, hour + 60)
    stack = Stack(StackConfig(state_dir=Path(installation.info.state_dir), auth=True))

    def failures() -> int:
        return sum("has to come again" in line for line in installation.logs("publish"))

    failed, dead = failures(), installation.waiting("publish-dlq")
    assert stack.ledger.stop()
    try:
        found = installation.invoke("heartbeat", {"hours": True, "back": 1})["found"]
        assert {"shard": shard.shard, "hour": hour, "alive": 1, "silent": 0} in found
        wait.until("publish to fail", lambda: failures() > failed, 90, 0.5)
        assert "tx" not in row(installation, shard.shard, hour)
    finally:
        stack.restart_ledger()
    view = wait.until("the hour to be said", lambda: said(parties, shard.shard, hour), SECONDS, 0.5)
    # How late it was said is on record.
    assert (view["alive"]["alive"], view["time"] >= hour + 3600) == (1, True)
    wait.until("its row", lambda: row(installation, shard.shard, hour).get("tx"), SECONDS, 0.2)
    assert installation.waiting("publish-dlq") == dead
