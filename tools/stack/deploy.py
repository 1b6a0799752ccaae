"""Deploying `template.yaml`, unchanged, to the local stack with the SAM CLI."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from stack import aws, local
from stack.model import REPO, StackError, StackInfo

FUNCTIONS = ("ingest", "summarize", "reconcile", "heartbeat", "publish", "bill", "status", "register", "trust")


@dataclass(frozen=True)
class Deployment:
    """One customer's stage, and what its template's parameters are to be."""

    customer: str = "acme"
    stage: str = "dev"
    parameters: Mapping[str, str] = field(default_factory=dict)
    template: Path = REPO / "template.yaml"
    """The functions' packages are looked for beside it, below `target/lambda/`."""

    @property
    def name(self) -> str:
        """Name of the CloudFormation stack, and prefix of everything in it."""
        return f"vitro-{self.customer}-{self.stage}"

    @classmethod
    def named(cls, name: str) -> Deployment:
        """The deployment with this name; neither customer nor stage has a hyphen."""
        _, customer, stage = name.split("-")
        return cls(customer, stage)

    def environment(self) -> dict[str, str]:
        """Variables by which `vitro` finds it."""
        return {"VITRO_CUSTOMER": self.customer, "VITRO_STAGE": self.stage}

    def overrides(self) -> list[str]:
        """`Name=value` of every parameter that is given."""
        machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
        given = {"Customer": self.customer, "Stage": self.stage, "Architecture": machine}
        return [f"{name}={value}" for name, value in {**given, **self.parameters}.items()]


def deploy(info: StackInfo, deployment: Deployment) -> dict[str, str]:
    """Runs `sam deploy`, applies the local additions, and returns the stack's outputs."""
    _check_built(deployment.template.parent)
    bucket = f"vitro-deploy-{info.account}-{info.region}"
    s3 = aws.client(info, "s3")
    if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": info.region})
    _sam_deploy(info, deployment, bucket)
    local.complete(info, deployment.name)
    # Another deployment may have been recorded since `info` was read.
    latest = StackInfo.load(Path(info.state_dir))
    others = [name for name in latest.deployments if name != deployment.name]
    replace(latest, deployments=[*others, deployment.name]).save()
    return aws.outputs(info, deployment.name)


def _check_built(root: Path) -> None:
    missing = [name for name in FUNCTIONS if not (root / "target/lambda" / name / "bootstrap").exists()]
    if missing:
        raise StackError(f"not built: {', '.join(missing)}; run `make build`")


def _sam_deploy(info: StackInfo, deployment: Deployment, bucket: str) -> None:
    argv = [str(REPO / ".venv/sam/bin/sam"), "deploy"]
    argv += ["--template-file", str(deployment.template), "--stack-name", deployment.name]
    argv += ["--region", info.region, "--s3-bucket", bucket, "--s3-prefix", deployment.name]
    argv += ["--capabilities", "CAPABILITY_NAMED_IAM", "--no-progressbar"]
    argv += ["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-resolve-s3"]
    argv += ["--parameter-overrides", *deployment.overrides()]
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment |= info.environment() | {
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.5",
        # The CLI keeps settings below the home directory otherwise.
        "__SAM_CLI_APP_DIR": str(Path(info.state_dir) / "sam"),
    }
    log = Path(info.state_dir) / f"deploy-{deployment.name}.log"
    with log.open("w") as output:
        code = subprocess.run(
            argv,
            cwd=REPO,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise StackError(f"sam deploy of {deployment.name} failed ({log}):\n{tail}")
