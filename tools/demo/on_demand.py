"""The first principle of the yellow paper: a party asks in the middle of a day, and sees it on the ledger."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from demo import observe
from demo.fleet import QUICK, Fleet
from demo.money import Money
from demo.plan import DEVICES, Plan
from demo.programs import start_replay, vitro_json
from demo.report import Report, say
from stack import Installation, wait

SECONDS = 60
# So much of the day is played at most: it takes a second or two.
PART = dt.time(2, 0)


def ask(installation: Installation, plan: Plan, fleet: Fleet, money: Money, report: Report) -> None:
    """A healthy device begins today's day, a party asks for it, and a reading of it is proven."""
    device = next(device for device in DEVICES[1:] if device.role == "healthy")
    now = dt.datetime.now(ZoneInfo(plan.zone))
    until = min(now.time(), PART).replace(second=0, microsecond=0)
    rows = sum(time.time() < until for time in plan.times)
    before = observe.stored_count(installation, device.thing)
    arguments = ["--recording", str(plan.recording), "--sensors", str(plan.sensors), "--rate", str(QUICK)]
    arguments += ["--recorded-day", plan.recorded_day.isoformat(), "--day", now.date().isoformat()]
    arguments += ["--until", f"{until:%H:%M}", "--stay", str(2 * SECONDS)]
    running = start_replay(installation, device.thing, fleet.folder_of(device), *arguments)
    try:
        stored = lambda: observe.stored_count(installation, device.thing) - before >= rows  # noqa: E731
        wait.until("the begun day to be stored", stored, SECONDS, interval=0.2)
        profile = money.profiles["dv"]
        asked = vitro_json(
            installation, "device", "publish", device.thing, "--wait", str(SECONDS), "--profile", profile
        )
    finally:
        running.stop()
    found: dict[str, Any] = asked["block"]
    report.expect(
        f"{device.thing}: asked for, its day so far is on the ledger within a minute", True, found["seconds"] < 60
    )
    report.expect(f"{device.thing}: envelopes of its day so far", rows, found["count"])
    if rows:
        number, block = str(found["first"]), str(found["number"])
        proven = vitro_json(installation, "proof", "reading", device.thing, number, "--block", block)
        report.expect(f"{device.thing}: a reading is proven to be part of it", found["root"], proven["root"])
    report.on_demand = {
        "thing": device.thing,
        "asked_by": "dv",
        "asked_at": asked["asked_at"],
        "seconds": found["seconds"],
        "block": found["number"],
        "hash": found["hash"],
        "transaction": found["transaction"],
        "sealed_at": found["sealed_at"],
        "count": found["count"],
    }
    say(
        f"    {device.thing}: block {found['number']} with {found['count']} envelopes, {found['seconds']} s after the ask"
    )
