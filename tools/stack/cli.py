"""The command line of the local stack."""

from __future__ import annotations

import argparse
import datetime as dt
import shlex
import sys
from pathlib import Path

from stack import dashboard, hints
from stack.deploy import Deployment, deploy
from stack.lifecycle import Stack
from stack.model import DEFAULT_STATE_DIR, REPO, StackConfig, StackError


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed) or 0)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1


def _up(parsed: argparse.Namespace) -> None:
    info = Stack(_config(parsed)).up()
    print(f"AWS endpoint   {info.endpoint_url}")
    print(f"MQTT over TLS  {info.mqtt_host}:{info.mqtt_port}  (CA {info.ca_path})")
    print(f"ledger         {'running' if info.ledger else 'not built'}")
    print(f"described in   {info.path_in(Path(info.state_dir))}")


def _down(parsed: argparse.Namespace) -> None:
    stopped = Stack(_config(parsed)).down()
    print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def _status(parsed: argparse.Namespace) -> None:
    stack = Stack(_config(parsed))
    stack.info()
    print(stack.info().path_in(stack.state_dir).read_text(), end="")


def _env(parsed: argparse.Namespace) -> None:
    info = Stack(_config(parsed)).info()
    variables = info.environment()
    if info.deployments:
        variables |= Deployment.named(info.deployments[-1]).environment()
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def _deploy(parsed: argparse.Namespace) -> None:
    parameters = dict(_parameter(item) for item in parsed.parameter)
    deployment = Deployment(parsed.customer, parsed.stage, parameters)
    for name, value in deploy(Stack(_config(parsed)).info(), deployment).items():
        print(f"{name:24} {value}")


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise StackError(f"--parameter {text}: NAME=VALUE is needed, as in --parameter SettleSeconds=5")
    return name, value


def _dashboard(parsed: argparse.Namespace) -> None:
    info = Stack(_config(parsed)).info()
    end = dt.datetime.now(dt.UTC)
    start = end - dt.timedelta(minutes=parsed.minutes)
    name = Deployment(parsed.customer, parsed.stage).name
    dashboard.render(dashboard.read(info, name, start, end), parsed.output)
    print(parsed.output)


def _hints(parsed: argparse.Namespace) -> None:
    info = Stack(_config(parsed)).info()
    print(hints.text(info, Deployment(parsed.customer, parsed.stage), dt.datetime.now(dt.UTC)))


def _config(parsed: argparse.Namespace) -> StackConfig:
    return StackConfig(
        state_dir=parsed.state_dir,
        port=getattr(parsed, "port", 0),
        mqtt_port=getattr(parsed, "mqtt_port", 0),
        auth=getattr(parsed, "auth", False),
        tls=getattr(parsed, "tls", False),
        ledger=not getattr(parsed, "no_ledger", False),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stack", description="The local AWS Vitro is developed on.")
    parser.add_argument("--state-dir", type=Path, default=DEFAULT_STATE_DIR, help="default: target/stack")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start the emulator and the development ledger")
    up.add_argument("--port", type=int, default=0, help="of the AWS endpoint; 0: any free one")
    up.add_argument("--mqtt-port", type=int, default=0, help="0: any free one")
    up.add_argument("--auth", action="store_true", help="enforce IAM and IoT policies (implies --tls)")
    up.add_argument("--tls", action="store_true", help="serve the AWS endpoint over TLS")
    up.add_argument("--no-ledger", action="store_true")
    up.set_defaults(run=_up)
    installation = argparse.ArgumentParser(add_help=False)
    installation.add_argument("--customer", default="acme")
    installation.add_argument("--stage", default="dev")

    ship = commands.add_parser("deploy", parents=[installation], help="sam deploy of template.yaml")
    ship.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE")
    ship.set_defaults(run=_deploy)
    picture = commands.add_parser("dashboard", parents=[installation], help="draw the deployed dashboard")
    picture.add_argument("--minutes", type=float, default=60, help="length of the time range, ending now")
    picture.add_argument("--output", type=Path, default=REPO / "target/stack/dashboard.png")
    picture.set_defaults(run=_dashboard)
    try_it = commands.add_parser("hints", parents=[installation], help="print what to try")
    try_it.set_defaults(run=_hints)

    commands.add_parser("down", help="stop what up started").set_defaults(run=_down)
    commands.add_parser("status", help="print stack.json").set_defaults(run=_status)
    commands.add_parser("env", help="print the variables for a shell, those of the last deployment too").set_defaults(
        run=_env
    )
    return parser
