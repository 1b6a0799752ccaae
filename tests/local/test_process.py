"""Starting and stopping: exactly what was started, and only on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack import Stack, StackConfig, StackError, wait
from stack.process import ManagedProcess, group_members, start_time


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(StackConfig(state_dir=tmp_path / "stack", ledger=False, owner_pid=os.getpid()))
    yield stack
    stack.down()


def listeners(pid: int) -> set[str]:
    """Addresses (hexadecimal, as the kernel has them) that a process listens on."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        link = str(descriptor.readlink())
        if link.startswith("socket:["):
            sockets.add(link[8:-1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                addresses.add(fields[1].partition(":")[0])
    return addresses


def test_a_stack_listens_on_loopback_only(own: Stack) -> None:
    own.up()
    pid = own.emulator.pid()
    assert pid is not None
    (loopback,) = (socket.inet_aton("127.0.0.1")[::-1].hex().upper(),)
    assert listeners(pid) == {loopback}


def test_down_leaves_nothing_and_a_second_up_works(own: Stack) -> None:
    first = own.up()
    pid = own.emulator.pid()
    assert pid is not None
    assert own.up() == first
    assert own.down() == ["ministack"]
    assert start_time(pid) is None
    assert group_members(pid) == []
    assert own.down() == []
    with pytest.raises(StackError, match="make up"):
        own.info()
    own.up()
    assert own.emulator.pid() not in (None, pid)


def test_two_stacks_run_side_by_side(own: Stack, tmp_path: Path) -> None:
    other = Stack(StackConfig(state_dir=tmp_path / "other", ledger=False, owner_pid=os.getpid()))
    try:
        assert own.up().endpoint_url != other.up().endpoint_url
        own.down()
        assert other.emulator.pid() is not None
    finally:
        other.down()


def test_a_stranger_under_a_recorded_id_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        process = ManagedProcess("ministack", tmp_path)
        record = {"pid": stranger.pid, "started": (start_time(stranger.pid) or 0) + 1}
        process.pid_file.write_text(json.dumps(record))
        assert process.pid() is None
        assert process.stop() is False
        assert stranger.poll() is None
        stranger.terminate()


def test_a_directory_that_is_not_ours_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("stays")
    with pytest.raises(StackError, match="not a stack's"):
        Stack(StackConfig(state_dir=tmp_path, ledger=False)).up()
    assert (tmp_path / "precious.txt").read_text() == "stays"


def test_a_stack_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        stack = Stack(StackConfig(state_dir=tmp_path / "stack", ledger=False, owner_pid=owner.pid))
        stack.up()
        pid = stack.emulator.pid()
        assert pid is not None
        owner.terminate()
        owner.wait()
    wait.until("the stack to end", lambda: stack.emulator.pid() is None, 20)
    stack.down()
