"""Kills of `ingest` while a batch is in flight change no number at the end."""

from __future__ import annotations

import random

import pytest

from e2e.support import faults, kills, observe
from e2e.support.devices import Device, yesterday
from stack import Installation, wait

pytestmark = pytest.mark.e2e
# Twice what twenty hits take on average: a kill that finds no invocation costs a batch too.
ENVELOPES = 1200
KILLS = 20
BATCH = 10


def test_twenty_kills_change_no_number(installation: Installation, device: Device) -> None:
    day = yesterday()
    sent, message, increase = device.day(day, ENVELOPES, "kills")
    counts = ("MessagesStored", "Duplicates", "Refused", "Equivocations", "Late")
    before = {name: installation.metric(name) for name in counts}
    came_again = len(kills.receive_counts(installation))
    dead = installation.waiting("telemetry-dlq")
    rng = random.Random(ENVELOPES)
    with observe.held_back(installation, "telemetry", BATCH):
        device.send(sent)
        wait.until("the rule to deliver all", lambda: installation.waiting("telemetry") >= ENVELOPES, 60, 0.2)
    try:
        # Slow calls, so that there is a middle of the work to be killed in.
        with faults.between(installation, "ingest", ("DYNAMODB",), [], delay=0.1) as slow:
            hit = kills.kill_in_flight(installation, "ingest", "telemetry", KILLS, lambda: rng.uniform(0, 0.4), 120)
        wait.until("the queue to be empty", lambda: installation.waiting("telemetry") == 0, 120, 0.2)
    finally:
        observe.with_batches_of(installation, "telemetry", 100)
    again = kills.receive_counts(installation)[came_again:]
    print(f"{hit} invocations killed; messages that came again in a batch, and their highest receive count: {again}")
    assert slow.calls, "ingest spoke to the slow proxy"
    assert hit >= KILLS
    assert sum(messages for messages, _ in again) >= KILLS
    assert max(count for _, count in again) > 1

    assert observe.readings(installation, device.thing) == {at: [data] for at, data in enumerate(sent)}
    assert observe.parked(installation, device.thing) == []
    assert installation.waiting("telemetry-dlq") == dead
    # A killed invocation says nothing, or what its successor says again; nothing is told as anything else than stored.
    after = {name: installation.metric(name) - before[name] for name in counts}
    assert {name: after[name] for name in counts[1:]} == dict.fromkeys(counts[1:], 0)
    noted = observe.row(installation, "days", device=device.thing, day=day)
    # Ranges are noted in steps of 64 numbers.
    assert (noted["low"], noted["high"]) == (0, ENVELOPES // 64 * 64 + 63)
    marked = observe.row(installation, "devices", device=device.thing)
    assert ENVELOPES - 64 <= marked["mark_number"] < ENVELOPES

    device.send([message], "block")
    settled = observe.settled(installation, device.thing, day)
    assert settled["outcome"] == "matched"
    assert (settled["first"], settled["count"]) == (0, ENVELOPES)
    assert observe.summary_increase(installation, settled, "energy") == increase
