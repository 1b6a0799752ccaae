"""Starting and stopping a stack: `Stack.up`, `Stack.down`, `Stack.info`."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from stack import ledger, wait
from stack.model import LOOPBACK, READY_FILE, REPO, StackConfig, StackError, StackInfo
from stack.process import ManagedProcess

START_SECONDS = 60.0


class Stack:
    """One local stack, found by its state directory."""

    def __init__(self, config: StackConfig | None = None) -> None:
        self.config = config or StackConfig()
        # Absolute, because the processes run with the state directory as their own.
        self.state_dir = self.config.state_dir.resolve()

    @property
    def emulator(self) -> ManagedProcess:
        """The ministack process."""
        return ManagedProcess("ministack", self.state_dir)

    @property
    def ledger(self) -> ManagedProcess:
        """The development ledger's process."""
        return ManagedProcess("ledger", self.state_dir)

    def info(self) -> StackInfo:
        """Description of the running stack; StackError when it is not running."""
        info = StackInfo.load(self.state_dir)
        if self.emulator.pid() is None:
            raise StackError(f"the stack in {self.state_dir} is not running: start it with `make up`")
        return info

    def up(self) -> StackInfo:
        """Starts whatever is not running yet and returns when both answer.

        A stack that is running is left as it is. One that ended (the emulator keeps nothing on
        disk) starts empty, with the state directory made anew.
        """
        if self.emulator.pid() is not None:
            info = StackInfo.load(self.state_dir)
            if (info.auth, info.tls) != (self.config.auth, self.config.use_tls):
                raise StackError("the running stack has other settings: stop it with `make down` first")
            self._check_ports(info)
            return self._with_ledger(info)
        self._clear()
        try:
            return self._with_ledger(self._start_emulator())
        except BaseException:
            self.down()
            raise

    def _check_ports(self, info: StackInfo) -> None:
        port = urllib.parse.urlsplit(info.endpoint_url).port
        for what, asked, has in (
            ("AWS endpoint", self.config.port, port),
            ("MQTT", self.config.mqtt_port, info.mqtt_port),
        ):
            if asked not in (0, has):
                raise StackError(
                    f"the running stack's {what} port is {has}, not {asked}: stop it with `make down` first"
                )

    def down(self) -> list[str]:
        """Stops what `up` started here, nothing else; returns the names of what was running."""
        stopped = [process.name for process in (self.ledger, self.emulator) if process.stop()]
        StackInfo.path_in(self.state_dir).unlink(missing_ok=True)
        return stopped

    def restart_ledger(self) -> StackInfo:
        """Stops the ledger and starts it again on the data it has."""
        info = self.info()
        self.ledger.stop()
        return self._with_ledger(info)

    def _clear(self) -> None:
        self.ledger.stop()
        # Never remove what does not look like a state directory of ours.
        if self.state_dir.exists() and any(self.state_dir.iterdir()):
            if not (self.state_dir / ".vitro-stack").exists():
                raise StackError(f"{self.state_dir} is not empty and not a stack's state directory")
            shutil.rmtree(self.state_dir)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        (self.state_dir / ".vitro-stack").touch()

    def _start_emulator(self) -> StackInfo:
        config = self.config
        argv = [sys.executable, "-m", "stack.launcher"]
        argv += ["--port", str(config.port), "--mqtt-port", str(config.mqtt_port)]
        argv += ["--account", config.account, "--region", config.region]
        argv += ["--auth"] * config.auth + ["--tls"] * config.use_tls
        if config.owner_pid is not None:
            argv += ["--owner-pid", str(config.owner_pid)]
        environment = {**os.environ, "PYTHONPATH": str(REPO / "tools"), "PYTHONUNBUFFERED": "1"}
        self.emulator.start(argv, environment)
        ready_file = self.state_dir / READY_FILE
        ca = self.state_dir / "server-ca.pem"

        def answers() -> dict[str, object] | None:
            self.emulator.check()
            if not ready_file.exists():
                return None
            try:
                ready: dict[str, object] = json.loads(ready_file.read_text())
            except json.JSONDecodeError:
                return None
            return ready if _is_ready(str(ready["endpoint_url"]), ca, config.use_tls) else None

        ready = wait.until("ministack to answer", answers, START_SECONDS)
        info = StackInfo(
            state_dir=str(self.state_dir),
            endpoint_url=str(ready["endpoint_url"]),
            region=config.region,
            account=config.account,
            mqtt_host=LOOPBACK,
            mqtt_port=int(str(ready["mqtt_port"])),
            ca_path=str(ca),
            auth=config.auth,
            tls=config.use_tls,
        )
        info.save()
        return info

    def _with_ledger(self, info: StackInfo) -> StackInfo:
        if not self.config.ledger:
            return info
        return ledger.ensure_running(self.ledger, info)


def _is_ready(endpoint: str, ca: Path, tls: bool) -> bool:
    """Whether every listener is up, by the emulator's own account."""
    context = ssl.create_default_context(cafile=str(ca)) if tls else None
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/ready", timeout=5, context=context) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
