"""The emulator's process: ministack served in process, on loopback only.

Run by `stack.lifecycle` as `python -m stack.launcher`; settings come as flags, state goes to the
working directory. ministack's own entry point would bind its MQTT listener to every interface and
take clients without a certificate, so the process is assembled here (see `stack.emulator`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
from pathlib import Path

from stack.certificates import ServerIdentity, make_server_identity
from stack.model import LOCAL_ACCESS_KEY, LOCAL_SECRET_KEY, LOOPBACK, READY_FILE
from stack.process import ManagedProcess, start_time


def main() -> None:
    """Binds both sockets, then imports ministack (which reads its settings while it is imported) and serves."""
    arguments = _parse()
    directory = Path.cwd()
    http = _bind(arguments.port)
    mqtt = _bind(arguments.mqtt_port)
    identity = make_server_identity(directory)
    port = http.getsockname()[1]
    scheme = "https" if arguments.tls else "http"
    endpoint = f"{scheme}://{LOOPBACK}:{port}"
    _configure(arguments, endpoint, port, identity, directory)
    asyncio.run(_serve(http, mqtt, identity, endpoint, arguments))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stack.launcher")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mqtt-port", type=int, required=True)
    parser.add_argument("--account", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--auth", action="store_true")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--owner-pid", type=int)
    return parser.parse_args()


def _bind(port: int) -> socket.socket:
    """A loopback socket that is already ours: no other process can take the port in between."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((LOOPBACK, port))
    bound.setblocking(False)
    return bound


def _configure(
    arguments: argparse.Namespace,
    endpoint: str,
    port: int,
    identity: ServerIdentity,
    directory: Path,
) -> None:
    """ministack's settings. Lambda functions inherit this environment, so it holds nothing else."""
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    os.environ.clear()
    os.environ.update(keep)
    os.environ.update(
        {
            "TMPDIR": str(temporary),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": LOCAL_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": LOCAL_SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "BIND_HOST": LOOPBACK,
            "GATEWAY_PORT": str(port),
            "MINISTACK_ACCOUNT_ID": arguments.account,
            "MINISTACK_HOST": LOOPBACK,
            "MINISTACK_REGION": arguments.region,
            "S3_DATA_DIR": str(directory / "s3"),
            "SFTP_ENABLED": "0",
            "STATE_DIR": str(directory / "state"),
            # No Docker: a leftover socket of the host must not be asked for containers.
            "DOCKER_HOST": f"unix://{directory}/no-docker.sock",
            "LAMBDA_EXECUTOR": "local",
            "AUTH": str(arguments.auth).lower(),
        }
    )
    if arguments.tls:
        os.environ.update(
            {
                "USE_SSL": "1",
                "MINISTACK_SSL_CERT": str(identity.certificate),
                "MINISTACK_SSL_KEY": str(identity.key),
                "AWS_CA_BUNDLE": str(identity.ca),
                "SSL_CERT_FILE": str(identity.ca),
            }
        )


async def _serve(
    http: socket.socket,
    mqtt: socket.socket,
    identity: ServerIdentity,
    endpoint: str,
    arguments: argparse.Namespace,
) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    from stack import emulator

    emulator.adapt(mqtt, identity)
    from ministack.app import app

    config = Config()
    config.bind = [f"fd://{http.fileno()}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.shutdown_timeout = 5
    config.loglevel = "WARNING"
    if arguments.tls:
        config.certfile, config.keyfile = str(identity.certificate), str(identity.key)

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    watchers = [asyncio.create_task(emulator.watch_metrics(arguments.account, arguments.region))]
    if arguments.owner_pid is not None:
        watchers.append(asyncio.create_task(_end_with(arguments.owner_pid, stopping)))
    Path(READY_FILE).write_text(json.dumps({"endpoint_url": endpoint, "mqtt_port": mqtt.getsockname()[1]}) + "\n")
    try:
        await serve(app, config, shutdown_trigger=stopping.wait, mode="asgi")
    finally:
        for watcher in watchers:
            watcher.cancel()


async def _end_with(owner: int, stopping: asyncio.Event) -> None:
    """Stops the stack when the process that asked for it (a test run) has ended without stopping it."""
    started = start_time(owner)
    while started is not None and start_time(owner) == started:
        await asyncio.sleep(1)
    await asyncio.to_thread(ManagedProcess("ledger", Path.cwd()).stop)
    stopping.set()


if __name__ == "__main__":
    main()
