"""The development ledger as the stack's second process.

`vitro-devledger` is built by cargo; it keeps its store below the state directory, listens on loopback
and writes a JSON file when it is ready. While the program is not built, the stack runs without.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from stack import wait
from stack.model import LOOPBACK, REPO, StackInfo
from stack.process import ManagedProcess

START_SECONDS = 30.0


def program() -> Path | None:
    """The ledger's program: `VITRO_DEVLEDGER`, or the one cargo built; None while there is none."""
    given = os.environ.get("VITRO_DEVLEDGER")
    path = Path(given) if given else REPO / "target" / "debug" / "vitro-devledger"
    return path if path.is_file() else None


def ensure_running(process: ManagedProcess, info: StackInfo) -> StackInfo:
    """Starts the ledger unless it runs, waits for its ready file, and records what that says."""
    binary = program()
    if binary is None:
        return info
    data = process.state_dir / "ledger"
    ready = process.state_dir / "ledger.json"
    if process.pid() is None:
        ready.unlink(missing_ok=True)
        argv = [str(binary), "--data-dir", str(data), "--host", LOOPBACK, "--ready-file", str(ready)]
        # The calls by which a network on Managed Blockchain is found.
        argv += ["--managed-blockchain-port", "0"]
        keep = ("PATH", "HOME", "VITRO_LOG")
        process.start(argv, {name: os.environ[name] for name in keep if name in os.environ})

    def answered() -> dict[str, object] | None:
        process.check()
        try:
            found: dict[str, object] = json.loads(ready.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return found

    info = replace(info, ledger=wait.until("the development ledger", answered, START_SECONDS))
    info.save()
    return info
