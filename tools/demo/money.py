"""The four parties on the ledger: what they agree on, and what is owed in the end."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from demo.outside import increase
from demo.plan import AGREEMENT, CURRENCY, DEVICES, PRICE, SHARD, Plan
from demo.programs import vitro, vitro_json
from demo.report import Report, say
from stack import Installation

PARTIES = ("operator", "rc", "dv", "sp")


class Money:
    """Each party acts with a key of its own, by the command line; none of them is in the operator's account but the operator's."""

    def __init__(self, installation: Installation, plan: Plan, report: Report, folder: Path) -> None:
        self.installation = installation
        self.plan = plan
        self.report = report
        self.folder = folder
        ledger = installation.info.ledger or {}
        profiles: Any = ledger["profiles"]
        self.profiles = {party: Path(profiles[party]) for party in PARTIES}

    def agree(self, keys: dict[str, str]) -> None:
        """Roles, devices and one agreement, each approved by those whom the contract asks; RC and DV know the meters by their keys."""
        for party in PARTIES:
            self._as(party, "configure-roles")
        # The functions get a client's identity; the admin's, with which the operator agrees to things, stays outside.
        user = self.profiles["operator"].with_name("operator-user.json")
        vitro(self.installation, "ledger", "--profile", user, "put-secret")
        things = [device.thing for device in DEVICES]
        self._as("operator", "register-device", *things)
        meters = self.folder / "meters.csv"
        rows = [f"{device.thing},{keys[device.thing]},{device.metering_point}\n" for device in DEVICES]
        meters.write_text("device,public_key,metering_point\n" + "".join(rows))
        for party in ("rc", "dv"):
            self._as(party, "approve-devices", "--file", str(meters))
        proposal = self.folder / "agreement.json"
        proposal.write_text(json.dumps(self._agreement(), indent=2) + "\n")
        self._as("sp", "propose", str(proposal))
        for party in PARTIES:
            view = self._as(party, "approve", AGREEMENT, "--file", str(proposal))["answer"]
            active = party == PARTIES[-1]
            self.report.expect(f"the agreement is active once {party} approved it", active, view["active"])
        say(f"    agreement {AGREEMENT}: {PRICE} {CURRENCY} per {self.plan.unit} of {self.plan.register}")

    def bill(self) -> dict[str, Any]:
        """Closes the period; returns the figures by device, of the ledger's summaries and of the statement, with their origins."""
        day = self.plan.day.isoformat()
        shown = self.installation.invoke("bill", {"agreement": AGREEMENT, "from": day, "to": day})
        again = self.installation.invoke("bill", {"agreement": AGREEMENT, "from": day, "to": day})
        self.report.expect("a period closes once", shown["statement"], again["statement"])
        view = self._as("dv", "statement", shown["statement"])
        statement = view["statement"]
        agreeing = [device for device in DEVICES if device.role != "silent"]
        owed = Decimal(increase(self.plan)) * len(agreeing) * Decimal(PRICE)
        total = owed.quantize(Decimal("0.01"), rounding="ROUND_HALF_UP")
        billed = Decimal(shown["total"]).scaleb(-shown["digits"])
        self.report.expect("the statement's total", f"{total} {CURRENCY}", f"{billed} {shown['currency']}")
        shares = sum(share["amount"] for share in statement["shares"])
        self.report.expect("the payees' shares add up to the total", shown["total"], shares)
        self.report.expect("metering points' days billed", len(agreeing), len(statement["lines"]))
        self.report.statement = {
            "id": shown["statement"],
            "agreement": AGREEMENT,
            "from": day,
            "to": day,
            "total": str(billed),
            "currency": shown["currency"],
            "transaction": shown["tx"],
            "archive": {"bucket": self.installation.archive, "key": shown["key"]},
            "shares": statement["shares"],
            "lines": statement["lines"],
            "unbilled": statement["unbilled"],
        }
        say(
            f"    statement {shown['statement'][:12]}…: {billed} {shown['currency']}, {len(statement['lines'])} metering points"
        )
        lines = {
            line["thing"]: {
                "value": line["quantity"],
                "origin": {"statement": shown["statement"], "transaction": line["tx"]},
            }
            for line in statement["lines"]
        }
        return {"lines": lines, "rows": self._rows(day)}

    def day(self, thing: str) -> dict[str, Any]:
        """What the ledger has of a device's day, as a party sees it."""
        view: dict[str, Any] = self._as("rc", "day", thing, self.plan.day.isoformat())
        return view

    def _rows(self, day: str) -> dict[str, Any]:
        """What the ledger answers to the smart-contract query: the agreement's summaries of a range of days."""
        rows = self._as("dv", "summaries", AGREEMENT, "--from", day, "--to", day)
        found = {}
        for row in rows:
            for summary in row["summaries"]:
                if summary["sensor"] == self.plan.register and row["outcome"] == "agrees":
                    value = summary["figures"]["increase"]
                    block = row["block"]
                    origin = {"transaction": block["tx"], "block": block["number"], "hash": block["hash"]}
                    found[row["thing"]] = {"value": value, "origin": origin}
        return found

    def _agreement(self) -> dict[str, Any]:
        sensor = {"sensor": self.plan.register, "unit": self.plan.unit}
        return {
            "id": AGREEMENT,
            "shard": SHARD,
            "points": None,
            "fields": [sensor],
            "tariff": {"kind": "per_unit", **sensor, "price": PRICE},
            "currency": {"code": CURRENCY, "digits": 2},
            "term": {"period": "days", "from": self.plan.day.isoformat(), "to": None},
            "payer": "dv",
            "payees": [{"role": "rc", "share": 80}, {"role": "sp", "share": 20}],
        }

    def _as(self, party: str, *command: str) -> Any:
        return vitro_json(self.installation, "ledger", "--profile", self.profiles[party], *command)
