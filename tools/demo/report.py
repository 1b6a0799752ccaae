"""What the demo found: expectations that held or not, and the facts with their origins."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from stack.model import REPO

VERSION = 1


@dataclass(frozen=True)
class Expectation:
    """One thing that had to be so."""

    name: str
    expected: Any
    found: Any
    held: bool


@dataclass
class Report:
    """Grows while the demo runs; written even if it breaks off."""

    path: Path
    recording: dict[str, Any] = field(default_factory=dict)
    devices: list[dict[str, Any]] = field(default_factory=list)
    attacks: list[dict[str, Any]] = field(default_factory=list)
    heartbeat: dict[str, Any] = field(default_factory=dict)
    statement: dict[str, Any] = field(default_factory=dict)
    on_demand: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    expectations: list[Expectation] = field(default_factory=list)
    started: float = field(default_factory=time.time)
    broke: str | None = None

    def expect(self, name: str, expected: Any, found: Any) -> bool:
        """Records whether `found` is what was expected."""
        held = found == expected
        self.expectations.append(Expectation(name, expected, found, held))
        if not held:
            say(f"    NOT AS EXPECTED  {name}: expected {expected!r}, found {found!r}")
        return held

    @property
    def held(self) -> bool:
        """Whether there were expectations and every one held."""
        return self.broke is None and bool(self.expectations) and all(e.held for e in self.expectations)

    def write(self) -> None:
        """Writes the report as JSON, and holds it against its own schema: that is an expectation, too."""
        if self.broke is None:
            faults = [error.message for error in _validator().iter_errors(self._document())]
            self.expect("the report fits its schema", [], faults)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        staged = self.path.with_suffix(".tmp")
        staged.write_text(json.dumps(self._document(), indent=2) + "\n")
        staged.replace(self.path)

    def _document(self) -> dict[str, Any]:
        finished = time.time()
        document = {
            "version": VERSION,
            "started": _instant(self.started),
            "finished": _instant(finished),
            "seconds": round(finished - self.started, 1),
            "held": self.held,
            "broke": self.broke,
            "recording": self.recording,
            "devices": self.devices,
            "attacks": self.attacks,
            "heartbeat": self.heartbeat,
            "statement": self.statement,
            "on_demand": self.on_demand,
            "pictures": self.pictures,
            "expectations": [asdict(e) for e in self.expectations],
        }
        # As a reader of the file has it: days as text, tuples as lists.
        plain: dict[str, Any] = json.loads(json.dumps(document, default=str))
        return plain

    def table(self) -> str:
        """The same facts for people."""
        lines = [""]
        rows = [("device", "outcome", "stored", "block", "summary", "ledger", "statement")]
        for device in self.devices:
            figures = device["increase"]
            rows.append(
                (
                    device["thing"],
                    device["outcome"],
                    str(device["stored"]),
                    *(_figure(figures[origin]) for origin in ("block", "summary", "ledger", "statement")),
                )
            )
        unit = self.recording.get("unit", "")
        lines.append(f"Increase of the register {self.recording.get('register', '')} in {unit}, by where it was read:")
        lines += _columns(rows)
        lines += ["", "Attacks:"]
        lines += _columns([("what", "told as", "kept")] + [(a["attack"], a["code"], a["kept"]) for a in self.attacks])
        if self.statement:
            lines += [
                "",
                f"Statement {self.statement['id'][:16]}…: {self.statement['total']} {self.statement['currency']}",
            ]
        failed = [e.name for e in self.expectations if not e.held]
        count = len(self.expectations)
        lines += ["", f"{count - len(failed)} of {count} expectations held"]
        lines += [f"  not: {name}" for name in failed]
        if self.broke:
            lines.append(f"  broke off: {self.broke}")
        return "\n".join(lines)


def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads((REPO / "docs" / "demo-report.schema.json").read_text()))


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def _figure(found: dict[str, Any] | None) -> str:
    return "-" if found is None else str(found["value"])


def _instant(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
