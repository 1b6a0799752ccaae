"""What the night makes of the day: silence found, days closed, outcomes, publication."""

from __future__ import annotations

import hashlib
import time
from decimal import Decimal
from typing import Any

import cbor2

from demo import observe
from demo.fleet import Fleet
from demo.money import Money
from demo.outside import increase
from demo.plan import DEVICES, Device, Plan
from demo.programs import agent
from demo.report import Report, say
from stack import Installation, wait

SECONDS = 120.0
MINUTE = 60_000
# The template's default of DeadlineHours.
DEADLINE_HOURS = 6


class Night:
    """Heartbeat, deadline, outcomes, and the day's facts with their origins."""

    def __init__(self, installation: Installation, plan: Plan, fleet: Fleet, report: Report) -> None:
        self.installation = installation
        self.plan = plan
        self.fleet = fleet
        self.report = report
        self.day = plan.day.isoformat()
        self.silent = next(device for device in DEVICES if device.role == "silent")
        self.others = [device for device in DEVICES if device.role != "silent"]

    def silence(self) -> None:
        """`heartbeat`, called with a `now` 61 minutes after the silent device's last receipt, tells it and not the others."""
        # Receipts of what the devices themselves said: the attacker's envelopes came later.
        last = {device.thing: self._last_receipt(device) for device in DEVICES}
        now = last[self.silent.thing] + 61 * MINUTE
        answer = self.installation.invoke("heartbeat", {"now": now})
        found = sorted(gap["device"] for gap in answer["gaps"])
        self.report.expect("heartbeat: devices that are silent", [self.silent.thing], found)
        self.report.heartbeat = {"now": now, "last_receipts": last, "gaps": answer["gaps"]}
        say(f"    heartbeat, 61 minutes after its last receipt, tells: {', '.join(found)}")

    def _last_receipt(self, device: Device) -> int:
        own = observe.outbox(self.fleet.folder_of(device))
        found = observe.readings(self.installation, device.thing)
        return max(int(item["received"]) for item in found if own.get(item["number"]) == item["envelope"])

    def deadline(self) -> None:
        """The deadline closes the day of the device whose block never came.

        Whatever time of the day it is: the function is told a `now` at which the deadline is over.
        """
        _, end = self.plan.bounds()
        over = int(end.timestamp() * 1000) + DEADLINE_HOURS * 60 * MINUTE + 1000
        self.installation.invoke("summarize", {"deadline": True, "now": max(over, int(time.time() * 1000))})
        for device in DEVICES:
            row = wait.until(f"the outcome of {device.thing}", lambda d=device: self._settled(d), SECONDS, interval=0.5)
            self.report.expect(f"{device.thing}: outcome", device.outcome, row["outcome"])
            say(f"    {device.thing}: {row['outcome']}")

    def published(self) -> None:
        """Every day's account is on the ledger."""
        for device in DEVICES:
            wait.until(
                f"{device.thing} to be published", lambda d=device: self._row(d).get("tx"), SECONDS, interval=0.5
            )

    def facts(self, device: Device, told: Any, money: Money, statement: dict[str, Any]) -> dict[str, Any]:
        """A device's day with the origin of each figure, and the expectations on it."""
        row = self._row(device)
        # Nothing that came after the day was closed has changed it.
        self.report.expect(f"{device.thing}: outcome in the end", device.outcome, row["outcome"])
        on_ledger = money.day(device.thing)
        word = "no-block" if device.role == "silent" else "agrees"
        self.report.expect(f"{device.thing}: the ledger's own verdict", word, on_ledger["outcome"])
        newest = on_ledger["accounts"][-1]["tx"]
        self.report.expect(f"{device.thing}: transaction of the account", newest, row.get("tx"))
        stored = self.fleet.check_bytes(self.report, device)
        figures = {
            "block": self._by_block(device),
            "summary": self._by_summary(row),
            "ledger": statement["rows"].get(device.thing),
            "statement": statement["lines"].get(device.thing),
        }
        if device.role != "silent":
            self.report.expect(f"{device.thing}: envelopes stored, one a row", len(self.plan.times), stored)
            for origin, figure in figures.items():
                found = None if figure is None else str(figure["value"])
                self.report.expect(f"{device.thing}: increase by the {origin}", increase(self.plan), found)
        else:
            self.report.expect(f"{device.thing}: a recorded gap", True, int(row.get("gaps", 0)) > 0)
            self.report.expect(f"{device.thing}: not on the statement", None, figures["statement"])
        if device.role == "lossy":
            healed = cbor2.loads(row["account"])[8]
            numbers = [n for first, last in healed for n in range(first, last + 1)]
            self.report.expect(f"{device.thing}: healed numbers in its account", self.plan.lost, numbers)
        return {
            "thing": device.thing,
            "role": device.role,
            "metering_point": device.metering_point,
            "day": self.day,
            "outcome": row["outcome"],
            "stored": stored,
            "agent": told,
            "recorded_gaps": int(row.get("gaps", 0)),
            "transaction": row.get("tx"),
            "increase": figures,
        }

    def totals(self) -> None:
        """What no row may show: days parked, dead letters, rule errors."""
        queues = [
            f"{queue}-dlq" for queue in ("telemetry", "blocks", "summarize", "reconcile", "publish", "status", "asks")
        ]
        for queue in [*queues, "rule-errors"]:
            self.report.expect(f"messages in {queue}", 0, self.installation.waiting(queue))

    def _row(self, device: Device) -> dict[str, Any]:
        return observe.day_row(self.installation, device.thing, self.day)

    def _settled(self, device: Device) -> dict[str, Any] | None:
        row = self._row(device)
        return row if row.get("outcome") else None

    def _by_block(self, device: Device) -> dict[str, Any] | None:
        if device.role == "silent":
            return None
        block = agent(self.installation, self.fleet.folder_of(device), "block", self.day)
        summary = next(s for s in block["summaries"] if s["sensor"] == self.plan.register)
        value = Decimal(summary["figures"]["increase"])
        return {"value": str(value), "origin": {"block": block["number"], "hash": block["hash"]}}

    def _by_summary(self, row: dict[str, Any]) -> dict[str, Any]:
        key, version = row["summary_key"], row["summary_version"]
        body = observe.archived(self.installation, key, version)
        value = observe.increase_of(body, self.plan.register)
        digest = hashlib.sha256(body).hexdigest()
        return {
            "value": str(value),
            "origin": {"bucket": self.installation.archive, "key": key, "version": version, "sha256": digest},
        }
