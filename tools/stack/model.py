"""What a stack is asked to be (`StackConfig`) and what a running one is (`StackInfo`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
# What the emulator's process writes into its state directory once its sockets are bound.
READY_FILE = "ministack.json"
DEFAULT_STATE_DIR = REPO / "target" / "stack"

# The emulator's own account and key pair: not secrets, they open nothing but this process on loopback.
LOCAL_ACCOUNT = "123456789012"
LOCAL_REGION = "eu-central-1"
LOCAL_ACCESS_KEY = "local"
LOCAL_SECRET_KEY = "local"


class StackError(Exception):
    """Something the person who started the stack has to know, in one sentence."""


@dataclass(frozen=True)
class StackConfig:
    """Settings of one local stack.

    `port` and `mqtt_port` 0 mean a free port. `auth` makes the emulator enforce IAM roles and IoT
    policies; it implies `tls`, because the buckets' policies refuse plain HTTP. `owner_pid`, when
    set, makes the processes end when that process has ended.
    """

    state_dir: Path = DEFAULT_STATE_DIR
    port: int = 0
    mqtt_port: int = 0
    auth: bool = False
    tls: bool = False
    ledger: bool = True
    account: str = LOCAL_ACCOUNT
    region: str = LOCAL_REGION
    owner_pid: int | None = None

    @property
    def use_tls(self) -> bool:
        """Whether the AWS endpoint speaks TLS."""
        return self.tls or self.auth


@dataclass(frozen=True)
class StackInfo:
    """A running stack, as written to `<state_dir>/stack.json` (schema: docs of `python -m stack status`)."""

    state_dir: str
    endpoint_url: str
    region: str
    account: str
    mqtt_host: str
    mqtt_port: int
    ca_path: str
    """PEM of the authority that signed the MQTT and, with TLS, the AWS endpoint's certificate."""
    auth: bool
    tls: bool
    ledger: dict[str, object] | None = None
    """What the development ledger wrote when it was ready; absent while there is none."""
    deployments: list[str] = field(default_factory=list)
    """Names of the CloudFormation stacks deployed by this tool; the one deployed last is the last."""

    @staticmethod
    def path_in(state_dir: Path) -> Path:
        """Where a stack with this state directory describes itself."""
        return state_dir / "stack.json"

    @classmethod
    def load(cls, state_dir: Path) -> StackInfo:
        """Reads the description of the stack in `state_dir`; StackError when there is none."""
        path = cls.path_in(state_dir)
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise StackError(f"no stack in {state_dir}: start one with `make up`") from None
        except (json.JSONDecodeError, TypeError) as error:
            raise StackError(f"{path} is not a stack description: {error}") from None

    def save(self) -> None:
        """Replaces the description in one step, so that a reader never sees half of it."""
        path = self.path_in(Path(self.state_dir))
        staged = path.with_suffix(".tmp")
        staged.write_text(json.dumps(asdict(self), indent=2) + "\n")
        staged.replace(path)

    def environment(self) -> dict[str, str]:
        """Variables that point an AWS client or the `vitro` CLI at this stack."""
        variables = {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": LOCAL_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": LOCAL_SECRET_KEY,
            # A profile or the metadata service of the host must never be asked.
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "VITRO_MQTT_HOST": self.mqtt_host,
            "VITRO_MQTT_PORT": str(self.mqtt_port),
            "VITRO_MQTT_CA": self.ca_path,
        }
        # The emulator has no Managed Blockchain; the ledger answers what networks are found by.
        match self.ledger:
            case {"managed_blockchain": {"endpoint_url": str(url)}}:
                variables["AWS_ENDPOINT_URL_MANAGEDBLOCKCHAIN"] = url
        if self.tls:
            variables["AWS_CA_BUNDLE"] = self.ca_path
            variables["SSL_CERT_FILE"] = self.ca_path
        return variables
