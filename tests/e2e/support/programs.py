"""Vitro's own programs: the command line and the device agent."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from stack import Installation
from stack.model import REPO

VITRO = REPO / "target" / "debug" / "vitro"
AGENT = REPO / "target" / "debug" / "vitro-device"
SECONDS = 120.0


def run(installation: Installation, program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, whatever becomes of it."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": installation.info.state_dir, **installation.environment()}
    return subprocess.run(
        [program, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def vitro(installation: Installation, *arguments: str | Path) -> Any:
    """The JSON that the command line answers."""
    return _json(run(installation, VITRO, *arguments, "--json"))


def agent(installation: Installation, folder: Path, *arguments: str | Path) -> Any:
    """The JSON that the agent of a device's folder answers."""
    return _json(run(installation, AGENT, "--folder", folder, *arguments))


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, f"{done.args}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)
