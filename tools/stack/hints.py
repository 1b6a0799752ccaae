"""What to try on a stack that has just come up."""

from __future__ import annotations

from stack.deploy import Deployment
from stack.model import DEFAULT_STATE_DIR, StackInfo

_TEXT = """
{name} is deployed on the local stack. To look around:

  eval "$(.venv/stack/bin/python -m stack{state} env)"    # points every AWS client, and `vitro`, at it
  target/debug/vitro --help
  .venv/sam/bin/sam list resources --stack-name {name}
  .venv/stack/bin/python -m stack{state} dashboard --customer {customer} --stage {stage}
  make deploy-local CUSTOMER=globex STAGE=prod            # a second customer beside the first
  make down                                               # stops what was started, nothing else

AWS endpoint  {endpoint}
MQTT over TLS {mqtt} (trust {ca})
Logs          {directory}/*.log"""


def text(info: StackInfo, deployment: Deployment) -> str:
    """The hints for one installation."""
    own = info.state_dir != str(DEFAULT_STATE_DIR)
    return _TEXT.format(
        name=deployment.name,
        customer=deployment.customer,
        stage=deployment.stage,
        state=f" --state-dir {info.state_dir}" if own else "",
        endpoint=info.endpoint_url,
        mqtt=f"{info.mqtt_host}:{info.mqtt_port}",
        ca=info.ca_path,
        directory=info.state_dir,
    )
