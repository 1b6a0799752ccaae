"""The agent polls a meter by Modbus TCP: what it reads is exact, and what it cannot read is missing."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from local.agent import AGENT, free_port, make, messages
from outsider import parse, senml
from stack import wait

UNIT = 7
SINGLE = struct.unpack(">HH", struct.pack(">f", 23.1))
SENSORS = {
    # name: (type, more of its description, its registers, what it says)
    "a-u16": ("u16", 'scale = "0.1"', [2315], Decimal("231.5")),
    "b-i16": ("i16", "", [0xFFFE], Decimal(-2)),
    "c-u32": ("u32", 'scale = "0.001"', [0x0001, 0x0002], Decimal("65.538")),
    "d-i32": ("i32", 'word_order = "little"', [0xFFFF, 0xFFFF], Decimal(-1)),
    "e-u64": ("u64", "", [0x0020, 0, 0, 1], Decimal(9007199254740993)),
    "f-f32": ("f32", "", list(SINGLE), Decimal("23.1")),
    "g-nan": ("f32", "", [0x7FC0, 0], None),
    "h-gone": ("u16", "", None, None),
}
"""The last has no register: the meter answers with an exception."""


@contextmanager
def meter(port: int) -> Iterator[None]:
    """A meter with its registers 16 apart from address 100 on."""
    data = [
        SimData(100 + 16 * at, values=registers, datatype=DataType.REGISTERS)
        for at, (_, _, registers, _) in enumerate(SENSORS.values())
        if registers
    ]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> ModbusTcpServer:
        server = ModbusTcpServer(SimDevice(UNIT, data), address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.shutdown(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def silent(port: int) -> Iterator[None]:
    """A host that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", port)):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A device's folder; its meter is not there yet."""
    lines = ["[sampling]", "poll_interval_seconds = 1"]
    lines += ["[modbus]", 'host = "127.0.0.1"', f"port = {free_port()}", f"unit = {UNIT}", "timeout_seconds = 1"]
    for at, (name, (kind, more, _, _)) in enumerate(SENSORS.items()):
        lines += ["[[modbus.register]]", f'sensor = "{name}"', 'function = "holding"', f"address = {100 + 16 * at}"]
        lines += [f'type = "{kind}"', more]
    make(tmp_path, "meter-1", list(SENSORS), *lines)
    return tmp_path


def said(folder: Path) -> list[dict[str, Decimal | None]]:
    """What each stored envelope says, in order."""
    table = senml.Table.from_json(json.loads((folder / "sensors.json").read_text()))
    packs = (senml.read(parse(data).payload, "meter-1") for _, data in messages(folder))
    return [{record.sensor: senml.check(record, table.get(record.sensor)) for record in pack} for pack in packs]


def test_registers_become_readings_and_what_cannot_be_read_is_missing(folder: Path) -> None:
    port = int((folder / "device.toml").read_text().rsplit("port = ", 1)[1].split("\n")[0])
    good = {name: value for name, (_, _, _, value) in SENSORS.items()}
    nothing = dict.fromkeys(SENSORS)
    log = (folder / "agent.log").open("w")
    agent = subprocess.Popen([AGENT, "--folder", folder, "run", "--modbus"], stderr=log)

    def comes(expected: dict[str, Decimal | None]) -> None:
        seen = len(said(folder))
        wait.until("two such readings", lambda: said(folder)[seen:].count(expected) >= 2, 30, 0.2)

    try:
        comes(nothing)
        with meter(port):
            comes(good)
        comes(nothing)
        with meter(port):
            comes(good)
        with silent(port):
            comes(nothing)
        with meter(port):
            comes(good)
    finally:
        agent.send_signal(signal.SIGTERM)
        code = agent.wait(20)
    told = (folder / "agent.log").read_text()
    assert code == 0, told
    assert all(len(readings) == len(SENSORS) for readings in said(folder)), "nothing is left out"
    assert [readings for readings in said(folder) if readings not in (good, nothing)] == []
    assert "h-gone: Illegal data address" in told or "g-nan: NaN is no number" in told, told
