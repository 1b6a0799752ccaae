"""One child process that outlives its starter, known by process id and start time.

A process id alone may have been given to a stranger since; with the start time of `/proc` it names
one process for good, so `stop` never signals anything that `start` did not start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stack import wait
from stack.model import StackError


def start_time(pid: int) -> int | None:
    """Start of a live process in clock ticks since boot; None when there is none (or only its zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name, may hold spaces and brackets; fields count from after it.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def group_members(pgid: int) -> list[int]:
    """Live processes of a process group."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError, ValueError):
            stat = (entry / "stat").read_text()
            fields = stat[stat.rindex(")") + 2 :].split()
            if int(fields[2]) == pgid and fields[0] not in "ZX":
                members.append(int(entry.name))
    return members


@dataclass(frozen=True)
class ManagedProcess:
    """A named process with its pid file and log in `state_dir`."""

    name: str
    state_dir: Path

    @property
    def pid_file(self) -> Path:
        """JSON with `pid` and `started`."""
        return self.state_dir / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        """Standard output and standard error."""
        return self.state_dir / f"{self.name}.log"

    def pid(self) -> int | None:
        """Process id, when the process that was started here is alive."""
        try:
            record = json.loads(self.pid_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        started = start_time(record["pid"])
        return record["pid"] if started is not None and started == record["started"] else None

    def start(self, argv: Sequence[str], environment: Mapping[str, str]) -> int:
        """Starts the process in a session (and process group) of its own."""
        if self.pid() is not None:
            raise StackError(f"{self.name} is already running in {self.state_dir}")
        with self.log_file.open("ab") as log:
            child = subprocess.Popen(
                argv,
                env=dict(environment),
                cwd=self.state_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = start_time(child.pid)
        self.pid_file.write_text(json.dumps({"pid": child.pid, "started": started}) + "\n")
        return child.pid

    def check(self) -> None:
        """StackError with the end of the log when the process has ended."""
        if self.pid() is None:
            raise StackError(f"{self.name} ended early; its log ends with\n{self.log_tail()}")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the log."""
        with suppress(FileNotFoundError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        return "(no log)"

    def stop(self, timeout: float = 10.0) -> bool:
        """Ends the process and what it started, politely first; False when it was not running."""
        pid = self.pid()
        if pid is None:
            self.pid_file.unlink(missing_ok=True)
            return False
        os.kill(pid, signal.SIGTERM)
        try:
            wait.until(f"{self.name} to end", lambda: _reaped(pid) or self.pid() is None, timeout)
        except StackError:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # Its children (Lambda functions) live in the same process group, which is ours alone.
        for member in group_members(pid):
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        wait.until(
            f"the children of {self.name} to end",
            lambda: (_reaped(pid) or self.pid() is None) and not group_members(pid),
            timeout,
        )
        self.pid_file.unlink(missing_ok=True)
        return True


def _reaped(pid: int) -> bool:
    """Collects our own ended child; False for a child still alive or somebody else's."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
