"""What to try on a stack that has just come up."""

from __future__ import annotations

import datetime as dt
import shlex
from pathlib import Path

from stack.deploy import Deployment
from stack.model import DEFAULT_STATE_DIR, REPO, StackInfo

_TEXT = """
{name} is deployed on the local stack. To use it:

  {env}    # points every AWS client, and `vitro`, at it
  export PATH="$PWD/target/debug:$PATH"

A device that sends yesterday's measurements (docs/cli.md):

  vitro ca new {files}/ca --name "{customer} devices" --not-before {before}T00:00:00Z
  vitro ca register {files}/ca
  vitro command-key new
  vitro device new sun-1 --ca {files}/ca --out {files}/sun-1 --metering-point mp-1 --shard west \\
      --zone {zone} --sensors recordings/midc-2018-10-14.toml --not-before {before}T00:00:00Z
  vitro-device --folder {files}/sun-1 replay --recording recordings/midc-2018-10-14.csv --day {day}
  vitro readings sun-1 --day {day} | head
  vitro day sun-1 {day}

To look around:

  vitro --help
  .venv/sam/bin/sam list resources --stack-name {name}
  .venv/stack/bin/python -m stack{state} dashboard --customer {customer} --stage {stage}
  make deploy-local CUSTOMER=globex STAGE=prod            # a second customer beside the first
  make down                                               # stops what was started, nothing else

AWS endpoint  {endpoint}
MQTT over TLS {mqtt} (trust {ca})
Ledger        {ledger}
Logs          {directory}/*.log"""

# Where the recording was made: UTC-7 all year, written with POSIX's sign.
_ZONE = "Etc/GMT+7"
_OFFSET = dt.timedelta(hours=-7)


def text(info: StackInfo, deployment: Deployment, now: dt.datetime) -> str:
    """The hints for one installation; `now` decides which day was yesterday."""
    own = info.state_dir != str(DEFAULT_STATE_DIR)
    state = f" --state-dir {shlex.quote(info.state_dir)}" if own else ""
    env = f'eval "$(.venv/stack/bin/python -m stack{state} env)"'
    if info.deployments[-1:] != [deployment.name]:
        env += "; export " + " ".join(f"{name}={value}" for name, value in deployment.environment().items())
    day = (now + _OFFSET).date() - dt.timedelta(days=1)
    return _TEXT.format(
        name=deployment.name,
        customer=deployment.customer,
        stage=deployment.stage,
        state=state,
        env=env,
        files=shlex.quote(_files(info)),
        before=day - dt.timedelta(days=1),
        day=day,
        zone=_ZONE,
        endpoint=info.endpoint_url,
        mqtt=f"{info.mqtt_host}:{info.mqtt_port}",
        ca=info.ca_path,
        ledger=_ledger(info),
        directory=info.state_dir,
    )


def _ledger(info: StackInfo) -> str:
    """Where the parties' connection profiles lie, and how one is used."""
    if info.ledger is None:
        return "none"
    profiles = info.ledger["profiles"]
    assert isinstance(profiles, dict)
    folder = Path(profiles["rc"]).parent
    command = shlex.join(["vitro", "ledger", "--profile", profiles["rc"], "status"])
    return f"{folder}/ has rc.json (its admin), rc-user.json, and so for operator, dv, sp: {command}"


def _files(info: StackInfo) -> str:
    """A folder that goes with the stack: a new one knows none of the old one's devices."""
    folder = Path(info.state_dir) / "try"
    return str(folder.relative_to(REPO) if folder.is_relative_to(REPO) else folder)
