"""A ledger that is away for a while: days wait in the queue, and are published when it is back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.support import observe, whole_day
from e2e.support.devices import Device, Registrar, yesterday
from e2e.support.parties import Parties
from stack import Installation, Stack, StackConfig, wait

pytestmark = pytest.mark.e2e


def settle(device: Device, day: str) -> None:
    """Plays a day of the device until it is matched."""
    sent, message, _ = device.day(day, 12, "ledger away")
    device.send(sent)
    device.send([message], "block")
    assert observe.settled(device.installation, device.thing, day)["outcome"] == "matched"


def test_days_wait_for_the_ledger(
    installation: Installation, registrar: Registrar, parties: Parties, unique: Callable[[str], str]
) -> None:
    day = yesterday()
    devices = [registrar.device(unique("meter")) for _ in range(3)]
    things = [device.thing for device in devices]
    parties.register(*things)
    # Days of earlier tests, whose devices the ledger does not know, would be tried between these.
    installation.client("sqs").purge_queue(QueueUrl=installation.queue_url("publish"))
    stack = Stack(StackConfig(state_dir=Path(installation.info.state_dir)))
    before = {"dead": installation.waiting("publish-dlq"), "published": installation.metric("DaysPublished")}

    def failures() -> int:
        return sum("has to come again" in line for line in installation.logs("publish"))

    failed = failures()
    assert stack.ledger.stop()
    try:
        for device in devices:
            settle(device, day)
        # Each has been tried more than once.
        wait.until("publish to fail", lambda: failures() >= failed + 2 * len(devices), 90, 0.5)
        for thing in things:
            row = observe.row(installation, "days", device=thing, day=day)
            assert (row["state"], row.get("tx")) == ("reconciled", None)
        assert installation.waiting("publish") >= len(devices)
    finally:
        stack.restart_ledger()
    rows = [whole_day.published(installation, thing, day) for thing in things]
    assert {row["state"] for row in rows} == {"published"}
    for thing, row in zip(things, rows, strict=True):
        told = parties.call("dv", "day", thing, day)
        assert told["block"]["tx"] == row["tx"]
        assert (told["outcome"], len(told["accounts"])) == ("agrees", 1)
        assert observe.parked(installation, thing) == []
    assert installation.waiting("publish-dlq") == before["dead"]
    wait.until(
        "the metric", lambda: installation.metric("DaysPublished") == before["published"] + len(devices), 20, 0.5
    )
