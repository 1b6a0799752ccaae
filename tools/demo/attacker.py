"""An attacker on the side, who holds devices' keys. What it sends is made by the implementation of another origin in tests/outsider."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo import observe
from demo.fleet import Fleet
from demo.outside import Key, attack, publish
from demo.plan import DEVICES, Device
from demo.report import Report, say
from stack import Installation, wait

SECONDS = 60.0
# The used number that the attacker plays with.
USED = 100


class Attacker:
    """It has stolen the silent device, and cloned the key of a healthy one."""

    def __init__(self, installation: Installation, fleet: Fleet, report: Report) -> None:
        self.installation = installation
        self.fleet = fleet
        self.report = report
        self.stolen = next(device for device in DEVICES if device.role == "silent")
        self.cloned = next(device for device in DEVICES if device.role == "healthy")
        self.original = observe.outbox(fleet.folder_of(self.stolen))[USED]

    def refused(self) -> None:
        """What must be refused, and what is kept as evidence."""
        folder = self.fleet.folder_of(self.stolen)
        key = Key.from_pem(folder / "key.pem")
        victim = self.cloned.thing
        self._refused("forged signature", "bad_signature", attack.forged(self.original))
        self._refused("one flipped byte", "altered_copy", attack.flipped(self.original))
        self._refused("another device's name", "other_device", attack.other_device(self.original, victim, key))
        self._replayed(self.original)
        self._equivocated(attack.equivocation(self.original, key))

    def nonsense(self) -> None:
        """A well-signed envelope with nonsense in it, under the next number: stored, and flagged."""
        device = self.cloned
        folder = self.fleet.folder_of(device)
        number = max(observe.outbox(folder)) + 1
        sent = attack.nonsense(device.thing, number, Key.from_pem(folder / "key.pem"))
        self._publish(device, sent)
        item = self._wait("the nonsense to be stored", lambda: self._stored(device, number, sent))
        code = sorted(item["flags"])[0] if item.get("flags") else "none"
        self._tell("well-signed nonsense", "unreadable_pack", code, f"readings {device.thing}/{number}, flagged")

    def _refused(self, what: str, reason: str, sent: bytes) -> None:
        self._publish(self.stolen, sent)
        row = self._wait(f"{what} to be told", lambda: self._parked(sent))
        kept = observe.quarantined(self.installation, row["key"])
        self.report.expect(f"{what}: the event in quarantine is whole", True, _holds(kept, sent))
        self._tell(
            what, reason, row["reason"], "quarantine: the whole event", {"bucket": row["bucket"], "key": row["key"]}
        )

    def _replayed(self, sent: bytes) -> None:
        before = self.installation.metric("Duplicates")
        self._publish(self.stolen, sent)
        self._wait("the replay to be counted", lambda: self.installation.metric("Duplicates") > before)
        copies = [item for item in observe.readings(self.installation, self.stolen.thing) if item["envelope"] == sent]
        self.report.expect("replay: still stored once", 1, len(copies))
        self._tell("a replay", "duplicate", "duplicate", "nothing: it is the item that was there")

    def _equivocated(self, sent: bytes) -> None:
        self._publish(self.stolen, sent)

        def told() -> dict[str, object] | None:
            rows = [row for row in observe.parked(self.installation) if row["reason"] == "equivocation"]
            return next((row for row in rows if row["device"] == self.stolen.thing), None)

        row = self._wait("the equivocation to be told", told)
        held = [
            item["envelope"]
            for item in observe.readings(self.installation, self.stolen.thing)
            if item["number"] == USED
        ]
        self.report.expect("equivocation: both envelopes are kept", True, self.original in held and sent in held)
        kept = f"readings {self.stolen.thing}/{USED}, both"
        self._tell("a second envelope under a used number", "equivocation", str(row["reason"]), kept)

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
