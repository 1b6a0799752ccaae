"""The five devices: made, let loose on the recorded day, and what became of their readings."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from demo import observe
from demo.plan import DEVICES, LOST, SHARD, SILENT_FROM, Device, Plan
from demo.programs import Replay, start_replay, vitro_json
from demo.report import Report, say
from stack import Installation, wait

# Certificates are valid from three days ago, so that a device can have been there yesterday.
VALID_SINCE_DAYS = 3
# Publishes a second of each device, of which AWS takes 100. The silent device is quick and the others take their time, so that
# more than a minute lies between its last receipt and theirs.
QUICK, STEADY = 100, 20
SETTLED_SECONDS = 240


class Fleet:
    """The demo's devices, each in a folder of its own."""

    def __init__(self, installation: Installation, plan: Plan, folder: Path) -> None:
        self.installation = installation
        self.plan = plan
        self.folder = folder

    def folder_of(self, device: Device) -> Path:
        """A device's folder."""
        return self.folder / "devices" / device.thing

    def provision(self) -> None:
        """Customer CA, command key, and for each device key, CSR, certificate, thing, policy and registry entry."""
        ca = self.folder / "ca"
        since = dt.datetime.now(dt.UTC) - dt.timedelta(days=VALID_SINCE_DAYS)
        not_before = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        vitro_json(self.installation, "ca", "new", ca, "--name", "Acme Solar device CA", "--not-before", not_before)
        vitro_json(self.installation, "ca", "register", ca)
        vitro_json(self.installation, "command-key", "new")
        for device in DEVICES:
            made = vitro_json(
                self.installation,
                *("device", "new", device.thing, "--ca", ca, "--out", self.folder_of(device)),
                *("--metering-point", device.metering_point, "--zone", self.plan.zone, "--shard", SHARD),
                *("--sensors", self.plan.sensors, "--not-before", not_before),
            )
            say(
                f"    {device.thing}: certificate {made.get('certificate_id', '')[:12]}…, metering point {device.metering_point}"
            )

    def replay(self) -> list[Replay]:
        """Starts all five; returns when the silent one has stopped."""
        running = [self._start(device) for device in DEVICES]
        for device, replay in zip(DEVICES, running, strict=True):
            if device.role == "silent":
                ended = replay.result(SETTLED_SECONDS)
                say(f"    {device.thing} fell silent at {SILENT_FROM} of its day, after {ended['count']} envelopes")
        return [replay for device, replay in zip(DEVICES, running, strict=True) if device.role != "silent"]

    def _start(self, device: Device) -> Replay:
        plan = self.plan
        arguments = ["--recording", str(plan.recording), "--sensors", str(plan.sensors)]
        arguments += ["--recorded-day", plan.recorded_day.isoformat(), "--day", plan.day.isoformat()]
        if device.role == "silent":
            arguments += ["--until", SILENT_FROM, "--rate", str(QUICK)]
        else:
            arguments += ["--rate", str(STEADY), "--until-settled", "--deadline", str(SETTLED_SECONDS)]
        if device.role == "lossy":
            arguments += ["--lose", ",".join(map(str, LOST))]
        return start_replay(self.installation, device.thing, self.folder_of(device), *arguments)

    def watch(self, running: list[Replay]) -> dict[str, dict[str, object]]:
        """Waits until the day of every device that goes on is settled, with progress; returns what each agent said."""
        told = 0

        def all_ended() -> bool:
            nonlocal told
            total = sum(observe.stored_count(self.installation, device.thing) for device in DEVICES)
            if total >= told + 1000:
                told = total
                say(f"    {total} envelopes stored")
            return all(replay.ended() for replay in running)

        wait.until("the devices' days to be settled", all_ended, SETTLED_SECONDS, interval=1)
        return {replay.thing: replay.result(1) for replay in running}

    def check_bytes(self, report: Report, device: Device) -> int:
        """Every envelope that the device signed is stored, byte for byte; returns how many."""
        signed = observe.outbox(self.folder_of(device))
        stored: dict[int, list[bytes]] = {}
        for item in observe.readings(self.installation, device.thing):
            stored.setdefault(item["number"], []).append(item["envelope"])
        same = sum(1 for number, envelope in signed.items() if envelope in stored.get(number, []))
        report.expect(f"{device.thing}: envelopes stored byte for byte as signed", len(signed), same)
        return same
