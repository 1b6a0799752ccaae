"""The five devices: made, let loose on the recorded day, and what became of their readings."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

from demo import observe
from demo.plan import DEVICES, SHARD, SILENT_FROM, Device, Plan
from demo.programs import Replay, start_replay, vitro_json
from demo.report import Report, say
from stack import Installation, wait

# Certificates are valid from three days ago, so that a device can have been there yesterday.
VALID_SINCE_DAYS = 3
# Publishes a second of the silent device; AWS takes 100 on a connection.
QUICK = 100
# `heartbeat` tells the silent device 61 minutes after its last receipt, and no other: the others are heard of so much longer.
LONGER_SECONDS = 65.0
# Beyond the time that its messages take, a day is settled within this.
SETTLED_SECONDS = 180.0


class Fleet:
    """The demo's devices, each in a folder of its own."""

    def __init__(self, installation: Installation, plan: Plan, folder: Path) -> None:
        self.installation = installation
        self.plan = plan
        self.folder = folder
        self.keys: dict[str, str] = {}
        """Each device's public key, of the folder that was made for it."""

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
                *("--poll-interval", self.plan.poll_seconds),
            )
            self.keys[device.thing] = made["public_key"]
            say(
                f"    {device.thing}: certificate {made.get('certificate_id', '')[:12]}…, metering point {device.metering_point}"
            )

    def replay(self, running: list[Replay]) -> None:
        """Lets all five play the day, in `running` those that go on; returns when the silent one has stopped."""
        silent = next(device for device in DEVICES if device.role == "silent")
        others = [device for device in DEVICES if device is not silent]
        last = self._start(silent)
        running.append(last)
        # A recording with few rows is over soon: then the others begin later, so that they are heard of long enough.
        playing = len(self.plan.times) / self.plan.rate
        begin = time.monotonic() + max(0.0, LONGER_SECONDS - playing)
        ended = last.result(self.seconds)
        running.remove(last)
        say(f"    {silent.thing} fell silent at {SILENT_FROM:%H:%M} of its day, after {ended['count']} envelopes")
        wait.until("the others' turn", lambda: time.monotonic() >= begin, LONGER_SECONDS + 1)
        running.extend(self._start(device) for device in others)

    @property
    def seconds(self) -> float:
        """How long a day may take until it is settled."""
        return len(self.plan.times) / self.plan.rate + SETTLED_SECONDS

    def _start(self, device: Device) -> Replay:
        plan = self.plan
        arguments = ["--recording", str(plan.recording), "--sensors", str(plan.sensors)]
        arguments += ["--recorded-day", plan.recorded_day.isoformat(), "--day", plan.day.isoformat()]
        if device.role == "silent":
            arguments += ["--until", f"{SILENT_FROM:%H:%M}", "--rate", str(QUICK)]
        else:
            arguments += ["--rate", str(plan.rate), "--until-settled", "--deadline", str(int(self.seconds))]
        if device.role == "lossy":
            arguments += ["--lose", ",".join(map(str, plan.lost))]
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

        wait.until("the devices' days to be settled", all_ended, self.seconds, interval=1)
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
