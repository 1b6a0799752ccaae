"""An attacker on the side, who holds devices' keys. What it sends is made by the implementation of another origin in tests/outsider."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from demo import observe
from demo.fleet import Fleet
from demo.outside import Key, attack, publish
from demo.plan import DEVICES, Device
from demo.report import Report, say
from stack import Installation, wait

SECONDS = 60.0
# Numbers far beyond any that a device has reached.
FAR, FARTHER = 10**12, 10**15


class Attacker:
    """It has stolen the silent device, and cloned the key of a healthy one."""

    def __init__(self, installation: Installation, fleet: Fleet, report: Report) -> None:
        self.installation = installation
        self.fleet = fleet
        self.report = report
        self.stolen = next(device for device in DEVICES if device.role == "silent")
        self.cloned = next(device for device in DEVICES if device.role == "healthy")
        self.used = fleet.plan.used
        self.original = observe.outbox(fleet.folder_of(self.stolen))[self.used]

    def refused(self) -> None:
        """What must be refused."""
        folder = self.fleet.folder_of(self.stolen)
        key = Key.from_pem(folder / "key.pem")
        victim = self.cloned.thing
        self._refused("forged signature", "bad_signature", attack.forged(self.original))
        self._refused("one flipped byte", "altered_copy", attack.flipped(self.original))
        self._refused("another device's name", "other_device", attack.other_device(self.original, victim, key))
        self._replayed(self.original)

    def cloned_key(self) -> None:
        """What is kept as evidence, and suspends the device: so it comes last."""
        key = Key.from_pem(self.fleet.folder_of(self.stolen) / "key.pem")
        self._equivocated(attack.equivocation(self.original, key))

    def nonsense(self) -> None:
        """Well-signed envelopes with nonsense in them, while the days are open and under numbers far ahead: stored, and flagged.

        One with the key of a healthy device, whose day must end `matched` all the same, and one with the key of the device whose
        day will be closed without a block.
        """
        for device, number in ((self.cloned, FAR), (self.stolen, FARTHER)):
            key = Key.from_pem(self.fleet.folder_of(device) / "key.pem")
            sent = attack.nonsense(device.thing, number, key)
            self._publish(device, sent)
            item = self._wait("the nonsense to be stored", partial(self._stored, device, number, sent))
            codes = ",".join(sorted(item.get("flags") or ["none"]))
            self._tell("well-signed nonsense", "unreadable_pack", codes, f"readings {device.thing}/{number}, flagged")

    def _refused(self, what: str, reason: str, sent: bytes) -> None:
        self._publish(self.stolen, sent)
        row = self._wait(f"{what} to be told", lambda: self._parked(sent))
        kept = observe.quarantined(self.installation, row["key"])
        self.report.expect(f"{what}: the event in quarantine is whole", True, _holds(kept, sent))
        self._tell(
            what, reason, row["reason"], "quarantine: the whole event", {"bucket": row["bucket"], "key": row["key"]}
        )

    def _replayed(self, sent: bytes) -> None:
        held = self._copies(sent)
        before = self._duplicates()
        self._publish(self.stolen, sent)
        self._wait("the replay to be told", lambda: len(self._duplicates()) > len(before))
        self.report.expect("replay: the stored envelope is as it was, its receipt too", held, self._copies(sent))
        self.report.expect("replay: told once", 1, len(self._duplicates()) - len(before))
        code = str(self._duplicates()[-1]["reason"])
        self._tell("a replay", "duplicate", code, "nothing: it is the item that was there")

    def _duplicates(self) -> list[dict[str, Any]]:
        """What ingest's log says of envelopes under the used number that it knew already."""
        lines = [line for line in self.installation.logs("ingest") if '"known already"' in line]
        told = [json.loads(line[line.index("{") :]) for line in lines]
        return [line for line in told if (line["device"], line["number"]) == (self.stolen.thing, self.used)]

    def _copies(self, sent: bytes) -> list[dict[str, Any]]:
        return [item for item in observe.readings(self.installation, self.stolen.thing) if item["envelope"] == sent]

    def _equivocated(self, sent: bytes) -> None:
        self._publish(self.stolen, sent)

        def told() -> dict[str, object] | None:
            rows = [row for row in observe.parked(self.installation) if row["reason"] == "equivocation"]
            return next((row for row in rows if row["device"] == self.stolen.thing), None)

        row = self._wait("the equivocation to be told", told)
        held = [
            item["envelope"]
            for item in observe.readings(self.installation, self.stolen.thing)
            if item["number"] == self.used
        ]
        self.report.expect("equivocation: both envelopes are kept", True, self.original in held and sent in held)
        status = self._wait("the device to be suspended", self._suspended)
        self.report.expect("equivocation: the device is suspended for it", "equivocation", status["cause"])
        kept = f"readings {self.stolen.thing}/{self.used}, both; the device is suspended"
        self._tell("a second envelope under a used number", "equivocation", str(row["reason"]), kept)

    def _suspended(self) -> dict[str, Any] | None:
        entry = observe.entry(self.installation, self.stolen.thing)
        return entry if entry["status"] == "suspended" else None

    def _parked(self, sent: bytes) -> dict[str, object] | None:
        for row in observe.parked(self.installation):
            if "key" in row and _holds(observe.quarantined(self.installation, str(row["key"])), sent):
                return row
        return None

    def _stored(self, device: Device, number: int, sent: bytes) -> dict[str, object] | None:
        found = observe.readings(self.installation, device.thing)
        return next((item for item in found if item["number"] == number and item["envelope"] == sent), None)

    def _publish(self, device: Device, sent: bytes) -> None:
        info = self.installation.info
        topic = publish.topic_of(self.installation.customer, device.thing, "telemetry")
        folder: Path = self.fleet.folder_of(device)
        publish.publish(info.mqtt_host, info.mqtt_port, folder, device.thing, topic, [sent])

    def _tell(self, what: str, expected: str, code: str, kept: str, origin: dict[str, Any] | None = None) -> None:
        self.report.expect(f"{what}: told as", expected, code)
        told = {"attack": what, "expected": expected, "code": code, "kept": kept, "origin": origin}
        self.report.attacks.append(told)
        say(f"    {what}: {code}")

    def _wait(self, what: str, condition: Callable[[], object]) -> dict[str, object]:
        found = wait.until(what, condition, SECONDS, interval=0.5)
        return found if isinstance(found, dict) else {}


def _holds(kept: dict[str, object], sent: bytes) -> bool:
    """Whether a quarantined event holds these very bytes."""
    event = kept.get("event", kept)
    return isinstance(event, dict) and base64.b64decode(str(event.get("envelope", ""))) == sent
