"""A TCP proxy before the broker that cuts, stalls, and withholds what the broker answers. It cannot read TLS, and need not."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CHUNK = 16 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a reset: the other side loses what was on its way."""


@dataclass
class Wire:
    """The running proxy. Half of its connections meet a fault once the client has sent a random number of bytes."""

    upstream: tuple[str, int]
    seed: str
    port: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """How many connections met which fault; `asked` for those that `withhold` made mute, `none` for those that met none."""
    withheld: int = 0
    """Bytes that the broker answered on connections which `withhold` has made mute."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _count: int = 0
    _open: set[_Pair] = field(default_factory=set)

    def withhold(self) -> None:
        """On the connections that are open now, lets what clients send through, and nothing more of what the broker answers."""
        with self._lock:
            for pair in self._open:
                pair.mute = pair.asked = True

    def connection(self, client: socket.socket) -> None:
        """Serves one connection until either side ends it."""
        with self._lock:
            self._count += 1
            fate = random.Random(f"{self.seed} {self._count}")
        try:
            broker = socket.create_connection(self.upstream, timeout=10)
        except OSError:
            return client.close()
        broker.settimeout(None)
        for one in (client, broker):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(self, client, broker, fate)
        with self._lock:
            self._open.add(pair)
        back = threading.Thread(target=pair.back, daemon=True)
        back.start()
        pair.forth()
        back.join()
        pair.close()
        with self._lock:
            self.faults["asked" if pair.asked else pair.met] += 1
            self._open.discard(pair)

    def close(self) -> None:
        """Ends every connection."""
        with self._lock:
            for pair in self._open:
                pair.shut(pair.client)
                pair.shut(pair.broker)


class _Pair:
    """One connection with its fault."""

    def __init__(self, wire: Wire, client: socket.socket, broker: socket.socket, fate: random.Random) -> None:
        self.wire, self.client, self.broker, self.fate = wire, client, broker, fate
        self.planned = fate.choice(["cut", "stall", "withhold", "none", "none", "none"])
        # From within the TLS handshake to some hundred messages.
        self.left = int(10 ** fate.uniform(2.5, 4.5))
        self.met, self.clear = "none", threading.Event()
        self.clear.set()
        # Nothing of the broker passes any more; because somebody asked for it.
        self.mute, self.asked = False, False

    def forth(self) -> None:
        """From client to broker."""
        with suppress(OSError):
            while data := self.client.recv(CHUNK):
                self.clear.wait()
                self.broker.sendall(data)
                self.left -= len(data)
                if self.left < 0 and self.planned != "none" and self.met == "none":
                    self.fault()
        self.shut(self.broker)

    def back(self) -> None:
        """From broker to client."""
        with suppress(OSError):
            while data := self.broker.recv(CHUNK):
                self.clear.wait()
                if not self.mute:
                    self.client.sendall(data)
                elif self.asked:
                    self.wire.withheld += len(data)
        self.shut(self.client)

    def fault(self) -> None:
        """What this connection was to meet."""
        self.met = self.planned
        if self.met == "cut":
            self.close()
        elif self.met == "stall":
            # Both ways, for less or for more than the client waits for an acknowledgement.
            self.clear.clear()
            time.sleep(self.fate.uniform(0.2, 3.0))
            self.clear.set()
        else:
            self.mute = True
            timer = threading.Timer(self.fate.uniform(0.1, 1.0), self.close)
            timer.daemon = True
            timer.start()

    @staticmethod
    def shut(one: socket.socket) -> None:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Resets both sides."""
        for one in (self.client, self.broker):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.shut(one)
            one.close()


@contextmanager
def before(upstream: tuple[str, int], seed: str) -> Iterator[Wire]:
    """Starts a proxy on a port of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    wire = Wire(upstream, seed, listener.getsockname()[1])

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=wire.connection, args=(client,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield wire
    finally:
        # A listener that is only closed does not wake who waits for it.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        wire.close()
        accepting.join()
