"""Kills of `publish` while it brings an interim block to the ledger."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from e2e.support import faults, kills, observe
from e2e.support.devices import Registrar, yesterday
from e2e.support.on_demand import asked_day, on_ledger
from e2e.support.parties import Parties
from stack import Installation, wait

pytestmark = pytest.mark.e2e
SECONDS = 60.0


def test_a_kill_of_publish_changes_nothing(
    installation: Installation, registrar: Registrar, parties: Parties, unique: Callable[[str], str]
) -> None:
    day = yesterday()
    device = registrar.device(unique("meter"))
    parties.register(device.thing)
    asked = asked_day(device, day, 24, "killed")
    device.send(asked.envelopes)
    wait.until("them to be stored", lambda: len(observe.readings(installation, device.thing)) == 24, SECONDS, 0.2)
    dead = installation.waiting("publish-dlq")
    pauses = iter([0.2, 0.6, 0.9])
    with observe.held_back(installation, "publish"):
        device.send([asked.interim], "block")
        wait.until("the message to publish", lambda: installation.waiting("publish") >= 1, SECONDS, 0.2)
    # Slow calls, so that there is a middle of the work to be killed in.
    with faults.between(installation, "publish", ("S3",), [], delay=1.0):
        hit = kills.kill_in_flight(installation, "publish", "publish", 2, lambda: next(pauses, 0.5), 90)
    assert hit >= 2
    found = wait.until("it to be on the ledger", lambda: on_ledger(installation, device.thing, 0), SECONDS, 0.5)
    wait.until("the queue to be empty", lambda: installation.waiting("publish") == 0, SECONDS, 0.5)
    assert on_ledger(installation, device.thing, 0) == found
    assert observe.parked(installation, device.thing) == []
    assert installation.waiting("publish-dlq") == dead
