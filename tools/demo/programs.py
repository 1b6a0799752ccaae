"""Calling Vitro's own programs: the command line and the device agent."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.plan import DemoError
from stack import Installation
from stack.model import REPO

VITRO = REPO / "target" / "debug" / "vitro"
AGENT = REPO / "target" / "debug" / "vitro-device"


def vitro(installation: Installation, *arguments: str | Path) -> str:
    """Runs the command line and returns its standard output; DemoError with what it said when it fails."""
    return _run([str(VITRO), *map(str, arguments)], installation)


def vitro_json(installation: Installation, *arguments: str | Path) -> Any:
    """The same with `--json`."""
    return json.loads(vitro(installation, *arguments, "--json"))


def agent(installation: Installation, folder: Path, *arguments: str) -> Any:
    """Runs a command of the agent that ends by itself, and returns its JSON."""
    return json.loads(_run([str(AGENT), "--folder", str(folder), *arguments], installation))


@dataclass
class Replay:
    """An agent that replays a day in the background."""

    thing: str
    process: subprocess.Popen[str]
    log: Path

    def ended(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def result(self, timeout: float) -> Any:
        """What it printed at its end; DemoError if it failed."""
        try:
            out, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise DemoError(f"{self.thing}: the agent did not end within {timeout:g} s ({self.log})") from None
        if self.process.returncode != 0:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
            raise DemoError(f"{self.thing}: the agent failed ({self.log}):\n{tail}")
        return json.loads(out)

    def stop(self) -> None:
        """Ends it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def start_replay(installation: Installation, thing: str, folder: Path, *arguments: str) -> Replay:
    """Starts a replay; its progress goes to `agent.log` in the device's folder."""
    log = folder / "agent.log"
    with log.open("w") as progress:
        process = subprocess.Popen(
            [str(AGENT), "--folder", str(folder), "replay", *arguments],
            env=_environment(installation),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=progress,
            text=True,
        )
    return Replay(thing, process, log)


def _run(argv: list[str], installation: Installation) -> str:
    done = subprocess.run(
        argv,
        env=_environment(installation),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise DemoError(f"{' '.join(argv[:4])} … failed with {done.returncode}: {done.stderr.strip()[-1500:]}")
    return done.stdout


def _environment(installation: Installation) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(REPO / "target"), **installation.environment()}
