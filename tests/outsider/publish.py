"""A stranger's MQTT client: paho over mutual TLS, with a provisioned device's folder."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

KINDS = ("telemetry", "block", "reply")


class PublishError(Exception):
    """The broker did not take a message."""


def topic_of(customer: str, thing: str, kind: str, basic_ingest: bool = False) -> str:
    """The topic of a message from a device."""
    plain = f"vitro/{customer}/{thing}/{kind}"
    return f"$aws/rules/vitro_{customer}_{kind}/{plain}" if basic_ingest else plain


def tls(folder: Path) -> ssl.SSLContext:
    """Trusts `ca.pem` of a device's folder, and shows its `cert.pem`."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def publish(
    host: str,
    port: int,
    folder: Path,
    client_id: str,
    topic: str,
    payloads: Sequence[bytes],
    *,
    timeout: float = 20.0,
    server_name: str | None = None,
) -> None:
    """Publishes payloads in order at QoS 1 and waits until the broker has acknowledged each.

    `server_name` is what the server's certificate is checked against, if it is not `host`.
    """
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
    client.tls_set_context(_named(tls(folder), server_name))
    connected = threading.Event()
    refused: list[ReasonCode] = []

    def on_connect(_client: Client, _data: object, _flags: object, code: ReasonCode, _properties: object) -> None:
        if code.is_failure:
            refused.append(code)
        else:
            connected.set()

    client.on_connect = on_connect
    client.connect(host, port, keepalive=60)
    client.loop_start()
    try:
        if not connected.wait(timeout):
            raise PublishError(f"not let in within {timeout:g} s: {refused[0] if refused else 'the connection broke'}")
        sent: list[MQTTMessageInfo] = [client.publish(topic, payload, qos=1) for payload in payloads]
        for at, info in enumerate(sent):
            try:
                info.wait_for_publish(timeout)
            except (RuntimeError, ValueError) as error:
                raise PublishError(f"message {at}: {error}") from error
            if not info.is_published():
                raise PublishError(f"message {at} was not acknowledged within {timeout:g} s")
    finally:
        client.disconnect()
        client.loop_stop()


def _named(context: ssl.SSLContext, server_name: str | None) -> ssl.SSLContext:
    if server_name is None:
        return context

    class Named(ssl.SSLContext):
        """Checks the certificate against another name than the host's address."""

        def wrap_socket(self, *arguments: object, **options: object) -> ssl.SSLSocket:  # type: ignore[override]
            options["server_hostname"] = server_name
            return super().wrap_socket(*arguments, **options)  # type: ignore[arg-type]

    context.__class__ = Named
    return context
