"""The four parties on the development ledger, each with a profile of its own, by the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.support.programs import VITRO, run, vitro
from stack import Installation

PARTIES = ("operator", "rc", "dv", "sp")
WAITS = 75
"""How `vitro` ends when something waits for the caller's yes."""


@dataclass
class Parties:
    """The parties of an installation's ledger; whoever makes this has them agree on the roles first."""

    installation: Installation
    folder: Path

    def __post_init__(self) -> None:
        profiles: Any = (self.installation.info.ledger or {})["profiles"]
        self.profiles = {party: Path(profiles[party]) for party in PARTIES}
        for party in PARTIES:
            self.call(party, "configure-roles")
        # The functions speak as a client of the operator; who agrees to things is its admin.
        user = self.profiles["operator"].with_name("operator-user.json")
        vitro(self.installation, "ledger", "--profile", user, "put-secret")

    def call(self, party: str, *command: str | Path) -> Any:
        """A command of `vitro ledger` as a party."""
        return vitro(self.installation, "ledger", "--profile", self.profiles[party], *command)

    def register(self, *things: str) -> None:
        """Puts devices on the ledger, approved by those whom the contract asks."""
        self.call("operator", "register-device", *things)
        for party in ("rc", "dv"):
            self.call(party, "approve-devices", *things, "--yes", self._read(party, *things))

    def _read(self, party: str, *things: str) -> str:
        """The hash of what is shown of devices, which are just these; nothing is approved by that."""
        profile = self.profiles[party]
        shown = run(self.installation, VITRO, "ledger", "--profile", profile, "approve-devices", *things, "--json")
        assert shown.returncode == WAITS, shown.stderr
        read: dict[str, Any] = json.loads(shown.stdout)
        assert {view["entry"]["thing"] for view in read["entries"]} == set(things)
        return str(read["hash"])

    def agree(self, agreement: str, points: list[str], day: str, price: str) -> None:
        """An active agreement on these metering points, billed by the unit."""
        sensor = {"sensor": "energy", "unit": "kWh"}
        terms = {
            "id": agreement,
            "shard": "north",
            "points": points,
            "fields": [sensor],
            "tariff": {"kind": "per_unit", **sensor, "price": price},
            "currency": {"code": "EUR", "digits": 2},
            "term": {"period": "days", "from": day, "to": None},
            "payer": "dv",
            "payees": [{"role": "rc", "share": 80}, {"role": "sp", "share": 20}],
        }
        file = self.folder / f"{agreement}.json"
        file.write_text(json.dumps(terms))
        self.call("sp", "propose", file)
        views = [self.call(party, "approve", agreement, "--file", file)["answer"] for party in PARTIES]
        assert [view["active"] for view in views] == [False, False, False, True]
