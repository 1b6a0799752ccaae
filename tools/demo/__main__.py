"""`python -m demo`: plays the whole product on one machine and says whether every expectation held."""

from __future__ import annotations

import argparse
import datetime as dt
import fcntl
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import on_demand
from demo.attacker import Attacker
from demo.fleet import Fleet
from demo.money import Money
from demo.night import Night
from demo.plan import (
    CUSTOMER,
    DEFAULT_RECORDING,
    DEFAULT_SENSORS,
    DEFAULT_ZONE,
    DEVICES,
    FOLDER,
    STAGE,
    DemoError,
    Plan,
)
from demo.programs import Replay
from demo.report import Report, say
from stack import Deployment, Installation, Stack, StackConfig, StackError, dashboard
from stack.model import REPO

# Shorter than in production only where one would otherwise wait for wall-clock time.
PARAMETERS = {"SettleSeconds": "10"}
BUSY = "another demo runs in this folder"


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; 0 only if every expectation held."""
    parsed = _parser().parse_args(arguments)
    if (parsed.recording is None) != (parsed.sensors is None):
        print("demo: RECORDING and SENSORS go together", file=sys.stderr)
        return 2
    # Ended by a signal, it still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    report = Report(FOLDER / "report.json")
    try:
        plan = Plan.make(
            parsed.recording or DEFAULT_RECORDING, parsed.sensors or DEFAULT_SENSORS, parsed.zone, parsed.day
        )
        with _alone():
            _clear(FOLDER)
            _play(plan, report)
    except (DemoError, StackError) as error:
        report.broke = str(error)
    except KeyboardInterrupt:
        report.broke = "interrupted"
    except Exception as error:
        # Whatever it was, the report is written and says so; the trace is for whoever mends it.
        traceback.print_exc()
        report.broke = f"{type(error).__name__}: {error}"
    if report.broke != BUSY:
        report.write()
    print(report.table())
    print(f"\nThe same with every origin: {report.path.relative_to(REPO)}; the dashboard: {_shown(report)}")
    return 0 if report.held else 1


def _play(plan: Plan, report: Report) -> None:
    report.recording = {
        "file": plan.recording.name,
        "sensors": plan.sensors.name,
        "recorded_day": plan.recorded_day,
        "played_as": plan.day,
        "zone": plan.zone,
        "register": plan.register,
        "unit": plan.unit,
    }
    stack = Stack(StackConfig(state_dir=FOLDER / "stack", owner_pid=os.getpid()))
    say("1. A local AWS and a development ledger start, and template.yaml is deployed to them")
    try:
        info = stack.up()
        if info.ledger is None:
            raise DemoError("the development ledger is not built: run `make build`")
        installation = Installation.deploy(info, Deployment(CUSTOMER, STAGE, PARAMETERS))
        _run(installation, plan, report)
    finally:
        stack.down()


def _run(installation: Installation, plan: Plan, report: Report) -> None:
    fleet = Fleet(installation, plan, FOLDER)
    money = Money(installation, plan, report, FOLDER)
    night = Night(installation, plan, fleet, report)
    say("2. A customer CA is made, and five devices are provisioned")
    fleet.provision()
    say("3. The four parties agree on the ledger: roles, devices, a price per unit")
    money.agree(fleet.keys)
    say(f"4. {plan.recorded_day} of the recording is played as {plan.day} ({plan.zone}) by five devices")
    running: list[Replay] = []
    try:
        fleet.replay(running)
        attacker = Attacker(installation, fleet, report)
        say("5. An attacker on the side, with two devices' keys")
        attacker.refused()
        attacker.nonsense()
        say("6. The devices close their day, the cloud closes it on its own, and the two are reconciled")
        told = fleet.watch(running)
    finally:
        for replay in running:
            replay.stop()
    night.silence()
    night.deadline()
    say("7. Blocks and accounts are on the ledger; the billing period closes")
    night.published()
    statement = money.bill()
    say("8. Everything is compared with everything")
    for device in DEVICES:
        report.devices.append(night.facts(device, told.get(device.thing), money, statement))
    night.totals()
    say("9. A party asks for a device's day as it is now, and sees it on the ledger")
    on_demand.ask(installation, plan, fleet, money, report)
    say("10. The attacker signs a second envelope under a used number: the device is suspended")
    attacker.cloned_key()
    _picture(installation, report)


def _picture(installation: Installation, report: Report) -> None:
    path = FOLDER / "dashboard.png"
    end = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    panels = dashboard.read(installation.info, installation.prefix, end - dt.timedelta(minutes=15), end)
    dashboard.render(panels, path)
    report.pictures["dashboard"] = str(path.relative_to(REPO))


def _shown(report: Report) -> str:
    return report.pictures.get("dashboard", "not drawn")


@contextmanager
def _alone() -> Iterator[None]:
    """One demo at a time in a clone: a second would clear the first one's folder."""
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with (FOLDER.parent / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError(BUSY) from None
        yield


def _clear(folder: Path) -> None:
    """Removes what an earlier run left; a stack that still runs from it is stopped first."""
    if (folder / "stack").exists():
        Stack(StackConfig(state_dir=folder / "stack")).down()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--recording", type=Path, help="CSV: time in RFC 3339, then a column a sensor")
    parser.add_argument("--sensors", type=Path, help="TOML beside it: what the columns are")
    parser.add_argument("--zone", default=DEFAULT_ZONE, help=f"IANA zone of the site (default {DEFAULT_ZONE})")
    parser.add_argument("--day", type=dt.date.fromisoformat, help="which recorded day; default: the first")
    return parser


if __name__ == "__main__":
    sys.exit(main())
