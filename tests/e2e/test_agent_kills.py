"""The agent is killed at 50 points of a recorded day, on a line that fails half the time: every number is in the cloud exactly once."""

from __future__ import annotations

import os
import random
import re
import secrets
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.support import observe, wire
from e2e.support.devices import Device, Registrar, yesterday
from e2e.support.programs import AGENT, agent
from e2e.support.wire import Wire
from outsider import block, parse
from stack import Installation, StackError, wait
from stack.model import REPO

pytestmark = pytest.mark.e2e
RECORDING = REPO / "recordings" / "midc-2018-10-14.csv"
ROWS = 1440
KILLS = 50
WITHHELD_EVERY = 4
SECONDS = 150


class Outbox:
    """What lies in a device's outbox, read beside the agent."""

    def __init__(self, device: Device) -> None:
        self.path = device.folder / "outbox.sqlite"

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """The rows of a query; none while there are no tables."""
        try:
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as db:
                return db.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []

    def progress(self) -> int:
        """Envelopes that were stored, and once more those that the broker acknowledged."""
        found = self.ask("SELECT (SELECT COUNT(*) FROM messages WHERE kind = 0) * 2 - (SELECT COUNT(*) FROM queue)")
        return int(str(found[0][0])) if found else 0

    def acknowledged(self) -> int:
        """Envelopes that the broker acknowledged, as far as the agent heard of it."""
        found = self.ask("SELECT COUNT(*) FROM messages WHERE kind = 0 AND acknowledged = 1")
        return int(str(found[0][0])) if found else 0

    def waiting(self) -> bool:
        """Whether anything of the day is to be signed, to be sent, or to be acknowledged."""
        return self.acknowledged() < ROWS

    def envelopes(self) -> list[bytes]:
        """Every envelope in order of its number."""
        return [bytes(row[0]) for row in self.ask("SELECT bytes FROM messages WHERE kind = 0 ORDER BY number")]


def start(device: Device, day: str, log: Path) -> subprocess.Popen[str]:
    """Starts the replay of the recorded day; each start goes on where the one before was killed."""
    command = [AGENT, "--folder", device.folder, "replay", "--recording", RECORDING, "--day", day]
    command += ["--rate", "250/s", "--until-settled", "--deadline", str(SECONDS)]
    with log.open("a") as told:
        return subprocess.Popen(command, env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, stderr=told, text=True)


def unanswered(line: Wire, outbox: Outbox, running: subprocess.Popen[str]) -> bool:
    """Waits for the middle of a publish: the broker has it and says so, and the agent does not hear it. Whether it came to that.

    The connection is one on which acknowledgements flow, so what is withheld of it from then on are acknowledgements.
    """
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and outbox.waiting():
        acknowledged, before = outbox.acknowledged(), line.withheld
        wait.until(
            "acknowledgements",
            lambda seen=acknowledged: outbox.acknowledged() > seen or not outbox.waiting(),
            20,
            0.002,
        )
        line.withhold()
        with suppress(StackError):
            wait.until("one that is withheld", lambda seen=before: line.withheld > seen, 1, 0.002)
            return running.poll() is None
    return False


def reach(outbox: Outbox, point: int, running: subprocess.Popen[str]) -> None:
    """Waits until so much is stored and acknowledged."""
    wait.until(f"point {point}", lambda: outbox.progress() >= point or running.poll() is not None, 60, 0.002)


def kill(running: subprocess.Popen[str]) -> None:
    """Kills the agent, which must have been alive."""
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL


def test_fifty_kills_on_a_bad_line_lose_and_double_nothing(
    installation: Installation, registrar: Registrar, unique: Callable[[str], str]
) -> None:
    seed = os.environ.get("VITRO_TEST_SEED") or secrets.token_hex(4)
    print(f"VITRO_TEST_SEED={seed} plays the same kills and faults again")
    rng, day, info = random.Random(seed), yesterday(), installation.info
    counts = ("Duplicates", "Refused", "Equivocations", "Late")
    metrics = {name: installation.metric(name) for name in counts}
    began = time.monotonic()
    with wire.before((info.mqtt_host, info.mqtt_port), seed) as line:
        device = registrar.device(
            unique("killed"), RECORDING.with_suffix(".toml"), "--mqtt-host", "127.0.0.1", "--mqtt-port", str(line.port)
        )
        config = device.folder / "device.toml"
        # A dead line is noticed in time for the test.
        config.write_text(re.sub(r"ack_timeout_seconds = \d+", "ack_timeout_seconds = 2", config.read_text()))
        outbox, log = Outbox(device), device.folder / "agent.log"
        between, where = 0, []
        for at, point in enumerate(sorted(rng.randrange(ROWS * 2) for _ in range(KILLS))):
            running = start(device, day, log)
            reach(outbox, point, running)
            if at % WITHHELD_EVERY == 0:
                between += unanswered(line, outbox, running)
            else:
                # Not a wait for something to happen: the moment of the kill is what is varied.
                time.sleep(rng.uniform(0, 0.1))
            kill(running)
            where.append(outbox.progress())
        running = start(device, day, log)
        said, _ = running.communicate(timeout=SECONDS + 10)
        assert running.returncode == 0, log.read_text()[-4000:]
    print(f"killed at {where} of {ROWS * 2}; {between} between PUBLISH and PUBACK; {dict(line.faults)}")
    print(f"{line.withheld} bytes of acknowledgements withheld, {time.monotonic() - began:.0f} s")
    assert between >= 8
    assert line.faults["cut"] + line.faults["stall"] + line.faults["withhold"] >= 5, line.faults
    assert line.faults["none"] < line.faults.total() * 2 / 3, "the line is bad"

    assert '"settled":true' in said
    envelopes = outbox.envelopes()
    assert [parse(data).header.number for data in envelopes] == list(range(ROWS))
    assert observe.readings(installation, device.thing) == {at: [data] for at, data in enumerate(envelopes)}
    assert observe.parked_by_the_stack(installation, device.thing) == []
    after = {name: installation.metric(name) - metrics[name] for name in counts}
    assert after["Duplicates"] > 0, "what was not acknowledged was sent again"
    assert {name: after[name] for name in counts[1:]} == dict.fromkeys(counts[1:], 0)
    settled = observe.settled(installation, device.thing, day)
    assert (settled["outcome"], settled["first"], settled["count"]) == ("matched", 0, ROWS)
    assert observe.summary_increase(installation, settled, "energy") == Decimal("3.0903")
    blocks = outbox.ask("SELECT bytes FROM messages WHERE kind = 1")
    assert len(blocks) == 1
    sealed = block.open_message(bytes(blocks[0][0]), device.thing, device.key.public)
    assert agent(installation, device.folder, "block", day)["hash"] == sealed.hash.hex()
