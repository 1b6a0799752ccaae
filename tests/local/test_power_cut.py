"""The outbox after a power cut at any instant: whatever had been announced is there, byte for byte, and numbers go on.

The agent runs once over a library that notes every write, every sync and every line of its log (`disk.c`). From the notes the disk is
made again as a power cut may leave it: what was synced is there, of the rest each sector may have arrived or not, and of the changes of
names a first part. The agent is started on each such disk.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import re
import secrets
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local.agent import AGENT, make, messages
from stack import wait

SECTOR = 512
HEAD = struct.Struct("<IIQQ")
CUTS = 120
DAYS = 3
LINES_A_DAY = 8
STORED = re.compile(rb"signed and stored number=(\d+)")
CLOSED = re.compile(rb"closed a day that was open day=\S+ block=(\d+)")


@dataclass(frozen=True)
class Note:
    """A call: W write, T truncate, S sync, D sync of a folder, R rename, U unlink, P a line of the log."""

    op: str
    path: str
    other: str
    offset: int
    data: bytes


def notes(log: Path) -> Iterator[Note]:
    """What was noted, in order."""
    data, at = log.read_bytes(), 0
    while at < len(data):
        op = chr(data[at])
        path, other, offset, length = HEAD.unpack_from(data, at + 1)
        at += 1 + HEAD.size
        names = data[at : at + path + other].decode()
        at += path + other
        body = b"" if op == "T" else data[at : at + length]
        at += len(body)
        yield Note(op, names[:path], names[path:], offset, body)


@dataclass
class File:
    """What of a file is surely on the disk, and what may be."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Note] = field(default_factory=list)

    def settle(self) -> None:
        """What was written is durable now."""
        for note in self.pending:
            apply(self.durable, note)
        self.pending.clear()

    def after(self, rng: random.Random) -> bytes:
        """What is found when the power is back: of what was not synced, each sector may have arrived or not."""
        found = bytearray(self.durable)
        for note in self.pending:
            if note.op == "T" and rng.random() < 0.5:
                apply(found, note)
            for at in range(0, len(note.data), SECTOR):
                if rng.random() < 0.5:
                    piece = note.data[at : at + SECTOR]
                    apply(found, Note("W", "", "", note.offset + at, piece))
        return bytes(found)


def apply(content: bytearray, note: Note) -> None:
    """Changes a file's content as a call did."""
    if note.op == "T":
        del content[note.offset :]
        content.extend(bytes(note.offset - len(content)))
    else:
        content.extend(bytes(max(0, note.offset + len(note.data) - len(content))))
        content[note.offset : note.offset + len(note.data)] = note.data


@dataclass
class Disk:
    """A folder that is written to, as the process sees it and as the disk has it."""

    names: dict[str, File] = field(default_factory=dict)
    durable_names: dict[str, File] = field(default_factory=dict)
    pending_names: list[tuple[str, str, File | None]] = field(default_factory=list)
    announced: bytes = b""

    def take(self, note: Note) -> None:
        """One more call."""
        if note.op == "P":
            self.announced += note.data
        elif note.op in "WT":
            if note.path not in self.names:
                self.names[note.path] = File()
                self.pending_names.append(("put", note.path, self.names[note.path]))
            self.names[note.path].pending.append(note)
        elif note.op == "S" and note.path in self.names:
            self.names[note.path].settle()
        elif note.op == "R":
            moved = self.names.pop(note.path)
            self.names[note.other] = moved
            self.pending_names += [("put", note.other, moved), ("drop", note.path, None)]
        elif note.op == "U" and note.path in self.names:
            del self.names[note.path]
            self.pending_names.append(("drop", note.path, None))
        elif note.op == "D":
            change(self.durable_names, self.pending_names)
            self.pending_names.clear()

    def cut(self, folder: Path, rng: random.Random) -> None:
        """Writes what is found when the power is back."""
        found = dict(self.durable_names)
        change(found, self.pending_names[: rng.randint(0, len(self.pending_names))])
        for name, file in found.items():
            (folder / name.lstrip("/")).write_bytes(file.after(rng))


def change(names: dict[str, File], changes: list[tuple[str, str, File | None]]) -> None:
    """Applies changes of names in their order."""
    for what, name, file in changes:
        if what == "put" and file is not None:
            names[name] = file
        else:
            names.pop(name, None)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that notes."""
    library = tmp_path_factory.mktemp("disk") / "disk.so"
    source = Path(__file__).with_name("disk.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


def line(day: int, at: int, value: int) -> str:
    """A line of an early day; later ones are later."""
    time = dt.datetime(2026, 2, 1 + day, 6, at, tzinfo=dt.UTC)
    return f'{{"time": "{time.isoformat()}", "values": {{"energy": {value}}}}}\n'


def run(folder: Path, lines: str, log: Path, until: re.Pattern[bytes], environment: dict[str, str]) -> None:
    """Lets the agent take lines until its log says so, and kills it."""
    with log.open("w") as told:
        agent = subprocess.Popen(
            [AGENT, "--folder", folder, "run", "--stdin"], stdin=subprocess.PIPE, stderr=told, env=environment
        )
        assert agent.stdin is not None
        agent.stdin.write(lines.encode())
        agent.stdin.flush()
        try:
            wait.until("the lines to be signed", lambda: until.search(log.read_bytes()) or agent.poll() is not None, 60)
            assert agent.poll() is None, log.read_text()
        finally:
            agent.kill()
            agent.communicate()


def test_what_was_announced_survives_a_power_cut_at_any_instant(tmp_path: Path, shim: Path) -> None:
    seed = os.environ.get("VITRO_TEST_SEED") or secrets.token_hex(4)
    print(f"VITRO_TEST_SEED={seed} cuts the power at the same instants")
    rng = random.Random(seed)
    folder, log = tmp_path / "device", tmp_path / "notes"
    folder.mkdir()
    make(folder, "meter-1", ["energy"], "[outbox]", 'path = "outbox.sqlite"')
    still = {path.name for path in folder.iterdir()}
    environment = {"PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    noting = environment | {"LD_PRELOAD": str(shim), "VITRO_DISK_LOG": str(log), "VITRO_DISK_ROOT": str(folder)}
    lines = [line(day, at, day * 100 + at) for day in range(DAYS) for at in range(LINES_A_DAY)]
    last = re.compile(rb"signed and stored number=%d " % (len(lines) - 1))
    run(folder, "".join(lines), tmp_path / "agent.log", last, noting)
    known = {kind: dict(messages(folder, kind)) for kind in (0, 1)}
    assert (len(known[0]), len(known[1])) == (len(lines), DAYS - 1)
    calls = list(notes(log))
    assert {call.op for call in calls} >= set("WSDRP")

    lost = 0
    instants = sorted(rng.randrange(len(calls) + 1) for _ in range(CUTS))
    for nth, instant in enumerate(instants):
        disk = Disk()
        for call in calls[:instant]:
            disk.take(call)
        found = tmp_path / f"cut-{nth}"
        found.mkdir()
        for name in still:
            shutil.copy2(folder / name, found / name)
        disk.cut(found, rng)
        announced = {
            0: [int(number) for number in STORED.findall(disk.announced)],
            1: [int(number) for number in CLOSED.findall(disk.announced)],
        }
        stored = re.compile(rb"signed and stored number=(\d+)")
        after = tmp_path / f"after-{nth}.log"
        # Later than all the others, so that it is taken whatever was lost.
        run(found, line(DAYS, 0, 999), after, stored, environment)
        there = {kind: messages(found, kind) for kind in (0, 1)}
        for kind, numbers in announced.items():
            for number in numbers:
                assert dict(there[kind])[number] == known[kind][number], f"{instant}: {kind} {number}"
            # None is left out, none is there twice.
            assert [number for number, _ in there[kind]] == list(range(len(there[kind]))), instant
        new = int(stored.findall(after.read_bytes())[0])
        assert new == len(there[0]) - 1 >= len(announced[0]), instant
        lost += len(lines) - new
    print(f"{len(calls)} calls; {CUTS} cuts; {lost} lines that were not announced yet were not there")
    assert lost > 0, "cuts fell into the day"
