"""A small day from a recording to a statement, by the real agent and everything behind it."""

from __future__ import annotations

import datetime as dt
import random
import subprocess
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from e2e.support import observe
from e2e.support.devices import Device, Registrar
from e2e.support.parties import Parties
from e2e.support.programs import AGENT, agent
from outsider import recording, vectors
from stack import Installation, wait

STEP_MINUTES = 15
SECONDS = 90.0


@dataclass
class Site:
    """A device, its recording, and what an outsider computes from that."""

    device: Device
    csv: Path
    sensors: Path
    increase: Decimal

    @property
    def thing(self) -> str:
        """The device's name."""
        return self.device.thing


def record(folder: Path, name: str, day: str, seed: str) -> tuple[Path, Path, Decimal]:
    """A recording of a register with random increments, resets, missing values and rows; and its increase."""
    rng = random.Random(seed)
    resets_normal, width = rng.random() < 0.5, rng.choice([None, "10000"])
    value, rows = Decimal(rng.randrange(9000, 9999)), ["time,register"]
    start = dt.datetime.fromisoformat(f"{day}T00:00:00+00:00")
    for at in range(0, 1440, STEP_MINUTES):
        value = vectors.next_value(rng, value, Decimal(10_000))
        dice = rng.random()
        if at and dice < 0.05:
            continue
        cell = "" if dice > 0.95 else f"{value:f}"
        rows.append(f"{(start + dt.timedelta(minutes=at)).isoformat()},{cell}")
    csv, sensors = folder / f"{name}.csv", folder / f"{name}.toml"
    csv.write_text("\n".join(rows) + "\n")
    table = ["version = 1", "[[column]]", 'column = "register"', 'name = "energy"', 'unit = "kWh"', 'kind = "counter"']
    table += [f"resets_normal = {str(resets_normal).lower()}", *([f'width = "{width}"'] if width else [])]
    sensors.write_text("\n".join(table) + "\n")
    return csv, sensors, recording.increase(csv, "register", resets_normal, width)


def site(registrar: Registrar, thing: str, day: str, seed: str) -> Site:
    """Provisions a device for a random recording."""
    csv, sensors, increase = record(registrar.folder, thing, day, f"{seed} {thing.rpartition('-')[0]}")
    device = registrar.device(thing, sensors, "--poll-interval", str(STEP_MINUTES * 60))
    return Site(device, csv, sensors, increase)


def replay(site: Site, day: str, *more: str) -> subprocess.Popen[str]:
    """Starts the agent on its day; it ends once the cloud has settled it."""
    command = [AGENT, "--folder", site.device.folder, "replay", "--recording", site.csv, "--sensors", site.sensors]
    command += ["--day", day, "--until-settled", "--deadline", str(int(SECONDS)), *more]
    environment = {"PATH": "/usr/bin:/bin", **site.device.installation.environment()}
    log = (site.device.folder / "agent.log").open("w")
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)


def published(installation: Installation, thing: str, day: str) -> dict[str, Any]:
    """The row of a day once it is on the ledger."""

    def found() -> dict[str, Any] | None:
        row = observe.row(installation, "days", device=thing, day=day)
        return row if row.get("tx") else None

    return wait.until(f"{thing} to be published", found, SECONDS, 0.5)


def figures(installation: Installation, parties: Parties, site: Site, day: str, agreement: str) -> dict[str, Decimal]:
    """The register's increase by where it is told: the block, the summary, the ledger, the statement."""
    row = published(installation, site.thing, day)
    sealed = agent(installation, site.device.folder, "block", day)
    of_block = next(one for one in sealed["summaries"] if one["sensor"] == "energy")
    answers = parties.call("dv", "summaries", agreement, "--from", day, "--to", day)
    (answer,) = (one for one in answers if one["thing"] == site.thing)
    assert answer["outcome"] == "agrees"
    assert answer["block"]["tx"] == row["tx"]
    of_ledger = next(one for one in answer["summaries"] if one["sensor"] == "energy")
    issued = installation.invoke("bill", {"agreement": agreement, "from": day, "to": day})
    statement = parties.call("dv", "statement", issued["statement"])["statement"]
    (line,) = (one for one in statement["lines"] if one["thing"] == site.thing)
    return {
        "block": Decimal(of_block["figures"]["increase"]),
        "summary": observe.summary_increase(installation, row, "energy"),
        "ledger": Decimal(of_ledger["figures"]["increase"]),
        "statement": Decimal(line["quantity"]),
    }


def midnight_after(day: str) -> int:
    """The first second after a day in UTC."""
    return int(dt.datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) + 86_400


def day_before(day: str) -> str:
    """The day before a day."""
    return (dt.date.fromisoformat(day) - dt.timedelta(days=1)).isoformat()
