"""`python -m outsider`: make envelopes, attack, publish, look into them."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from outsider import attack, chains, envelope, publish, recording, senml, vectors
from outsider.envelope import Header
from outsider.faults import Refused
from outsider.keys import Key
from outsider.senml import Reading


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def _millis(text: str) -> int:
    time = datetime.datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError("the time needs an offset, such as Z")
    return round(time.timestamp() * 1000)


def _reading(text: str) -> Reading:
    sensor, _, rest = text.partition("=")
    value, _, unit = rest.partition(":")
    try:
        return Reading(sensor, unit, None if value == "missing" else Decimal(value))
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is not SENSOR=VALUE:UNIT") from None


def _make(options: argparse.Namespace) -> None:
    pack = senml.write(options.thing, options.time, options.readings)
    key = Key.from_pem(options.folder / "key.pem")
    sys.stdout.buffer.write(envelope.seal(Header(options.thing, options.number), pack, key))


def _attack(options: argparse.Namespace) -> None:
    data = _read(options.file)
    own = Key.from_pem(options.folder / "key.pem") if options.folder else Key.generate()
    header = envelope.parse(data).header
    makers = {
        "forged": lambda: attack.forged(data),
        "flipped": lambda: attack.flipped(data),
        "other-device": lambda: attack.other_device(data, options.victim or "victim", own),
        "equivocation": lambda: attack.equivocation(data, own),
        "nonsense": lambda: attack.nonsense(header.kid, header.number + 1, own),
    }
    sys.stdout.buffer.write(makers[options.kind]())


def _publish(options: argparse.Namespace) -> None:
    topic = publish.topic_of(options.customer, options.thing, options.topic, options.basic_ingest)
    payloads = [_read(name) for name in options.files]
    client_id = options.client_id or options.thing
    publish.publish(
        options.host, options.port, options.folder, client_id, topic, payloads, server_name=options.server_name
    )


def _show(options: argparse.Namespace) -> None:
    data = _read(options.file)
    opened = envelope.parse(data)
    facts: dict[str, object] = {
        "typ": opened.header.typ,
        "kid": opened.header.kid,
        "number": opened.header.number,
        "content": opened.header.content,
        "leaf": opened.leaf.hex(),
        "bytes": len(data),
    }
    if options.public:
        facts["verifies"] = opened.verifies(bytes.fromhex(options.public))
    if opened.header.content == envelope.SENML:
        try:
            facts["records"] = [str(record) for record in senml.read(opened.payload, opened.header.kid)]
        except Refused as fault:
            facts["records"] = fault.code
    print(json.dumps(facts, indent=2))


def _increase(options: argparse.Namespace) -> None:
    print(recording.increase(options.file, options.column, options.resets_normal, options.width))


def _vectors(_: argparse.Namespace) -> None:
    vectors.write()
    chains.write()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m outsider", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("make", help="sign an envelope of readings; its bytes go to standard output")
    one.add_argument("--folder", type=Path, required=True, help="a device's folder with key.pem")
    one.add_argument("--thing", required=True)
    one.add_argument("--number", type=int, required=True)
    one.add_argument("--time", type=_millis, required=True, help="RFC 3339")
    one.add_argument("readings", type=_reading, nargs="+", metavar="SENSOR=VALUE:UNIT", help="or SENSOR=missing:UNIT")
    one.set_defaults(run=_make)

    one = commands.add_parser("attack", help="spoil an envelope; the bytes go to standard output")
    one.add_argument("kind", choices=["forged", "flipped", "other-device", "equivocation", "nonsense"])
    one.add_argument("--folder", type=Path, help="whose key signs; without it a fresh one does")
    one.add_argument("--victim", help="other-device: the name that is taken")
    one.add_argument("file", metavar="FILE|-")
    one.set_defaults(run=_attack)

    one = commands.add_parser("publish", help="publish files at QoS 1 over mutual TLS")
    one.add_argument("--host", default="127.0.0.1")
    one.add_argument("--port", type=int, default=8883)
    one.add_argument("--folder", type=Path, required=True, help="key.pem, cert.pem and ca.pem")
    one.add_argument("--customer", required=True)
    one.add_argument("--thing", required=True, help="whose topic")
    one.add_argument("--client-id", help="the thing if left out")
    one.add_argument("--topic", choices=publish.KINDS, default="telemetry")
    one.add_argument("--basic-ingest", action="store_true")
    one.add_argument("--server-name", help="what the server's certificate is checked against, if not the host")
    one.add_argument("files", nargs="+", metavar="FILE|-")
    one.set_defaults(run=_publish)

    one = commands.add_parser("show", help="what an envelope says")
    one.add_argument("--public", help="a public key, uncompressed, hexadecimal: check the signature")
    one.add_argument("file", metavar="FILE|-")
    one.set_defaults(run=_show)

    one = commands.add_parser("increase", help="by how much a register rose over a recording")
    one.add_argument("file", type=Path, metavar="CSV")
    one.add_argument("column")
    one.add_argument("--resets-normal", action="store_true")
    one.add_argument("--width")
    one.set_defaults(run=_increase)

    one = commands.add_parser("vectors", help="write tests/vectors/outsider.json and chains.json")
    one.set_defaults(run=_vectors)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except (Refused, publish.PublishError, OSError, ValueError) as error:
        print(f"outsider: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
