"""A proxy between one function and the local AWS, which answers some calls as AWS does when it is in trouble."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from stack import Installation, wait

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Call:
    """One call of an AWS API."""

    operation: str
    """`BatchWriteItem` of DynamoDB; `PUT /bucket/key` of S3."""
    body: bytes


@dataclass
class Fault:
    """What is answered instead, so many times, to the calls whose operation starts with one of these."""

    operations: tuple[str, ...]
    times: int
    status: int
    answer: Callable[[Call], bytes]
    content_type: str
    answered: int = field(default=0)


def throttled(*operations: str, times: int, code: str = "ThrottlingException") -> Fault:
    """DynamoDB refuses for now."""
    kind = f"com.amazon.coral.availability#{code}" if code == "ThrottlingException" else code
    body = json.dumps({"__type": kind, "message": "Rate of requests exceeds the allowed throughput."}).encode()
    return Fault(operations, times, 400, lambda _: body, "application/x-amz-json-1.0")


def denied(*operations: str, times: int) -> Fault:
    """DynamoDB refuses by policy."""
    body = json.dumps(
        {"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "not authorized"}
    ).encode()
    return Fault(operations, times, 400, lambda _: body, "application/x-amz-json-1.0")


def unprocessed(times: int) -> Fault:
    """DynamoDB takes nothing of a batch of writes and says so in a good answer: how batches are throttled."""

    def answer(call: Call) -> bytes:
        return json.dumps({"UnprocessedItems": json.loads(call.body)["RequestItems"]}).encode()

    return Fault(("BatchWriteItem",), times, 200, answer, "application/x-amz-json-1.0")


def queue_throttled(times: int) -> Fault:
    """SQS takes no message for now."""
    body = json.dumps({"__type": "com.amazonaws.sqs#RequestThrottled", "message": "Request is throttled."}).encode()
    return Fault(("SendMessage",), times, 400, lambda _: body, "application/x-amz-json-1.0")


def s3_error(*operations: str, times: int, status: int, code: str) -> Fault:
    """S3 refuses: 503 SlowDown, 403 AccessDenied, 500 InternalError."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()
    return Fault(operations, times, status, lambda _: body, "application/xml")


@dataclass
class Proxy:
    """The running proxy."""

    upstream: str
    faults: list[Fault]
    delay: float = 0.0
    """Seconds that every call takes longer."""
    calls: list[str] = field(default_factory=list)
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_for(self, call: Call) -> Fault | None:
        """The next fault that is due for a call, counted."""
        with self._lock:
            self.calls.append(call.operation)
            for fault in self.faults:
                if fault.answered < fault.times and call.operation.startswith(fault.operations):
                    fault.answered += 1
                    return fault
        return None

    @property
    def exhausted(self) -> bool:
        """Whether every fault was answered as often as it was meant to be."""
        return all(fault.answered == fault.times for fault in self.faults)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Not held back until a delayed acknowledgement comes.
    disable_nagle_algorithm = True
    wbufsize = -1
    proxy: Proxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        target = self.headers.get("X-Amz-Target")
        operation = target.rpartition(".")[2] if target else f"{self.command} {self.path}"
        call = Call(operation, body)
        if self.proxy.delay:
            time.sleep(self.proxy.delay)
        if fault := self.proxy.fault_for(call):
            return self._answer(fault.status, {"Content-Type": fault.content_type}, fault.answer(call))
        address = urlsplit(self.proxy.upstream)
        upstream = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
        upstream.close()
        return self._answer(answer.status, headers, content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """Says nothing: the calls are in `Proxy.calls`."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A function that was killed leaves its connection broken; that is meant."""


@contextmanager
def between(
    installation: Installation, function: str, services: tuple[str, ...], faults: list[Fault], delay: float = 0.0
) -> Iterator[Proxy]:
    """Points a function's calls of these services (`DYNAMODB`, `S3`, `SQS`) at a proxy, and back at the end."""
    proxy = Proxy(installation.info.endpoint_url, faults, delay)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    functions, name = installation.client("lambda"), installation.name(function)
    before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    elsewhere = {f"AWS_ENDPOINT_URL_{service}": proxy.url for service in services}
    try:
        _configure(installation, function, before | elsewhere)
        yield proxy
    finally:
        _configure(installation, function, before)
        server.shutdown()
        server.server_close()
        thread.join()


def _configure(installation: Installation, function: str, variables: dict[str, str]) -> None:
    functions, name = installation.client("lambda"), installation.name(function)
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    # An environment that works is not taken away; those that were there know the old settings.
    wait.until(
        f"{function} to be updated",
        lambda: functions.get_function_configuration(FunctionName=name).get("LastUpdateStatus") != "InProgress",
        20,
    )
    installation.kill(function)
