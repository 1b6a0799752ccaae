"""An identity comes from a Fabric CA into Secrets Manager, and speaks on the ledger; a small CA stands for the organization's."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.small_ca import SmallCa
from stack import StackInfo, aws
from stack.model import REPO

pytestmark = pytest.mark.e2e
VITRO = REPO / "target" / "debug" / "vitro"
SECRET = "an-enrollment-secret"
IDENTITIES = dict.fromkeys(("boss", "other-boss", "short", "unlucky"), (SECRET, "admin")) | {
    "clerk": (SECRET, "client")
}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def own(new_stack: Callable[..., StackInfo]) -> StackInfo:
    """A stack whose ledger and secrets nobody else uses."""
    return new_stack()


@pytest.fixture(scope="module")
def ca(own: StackInfo) -> Iterator[SmallCa]:
    """RC's CA."""
    small = SmallCa(Path(own.state_dir) / "ledger" / "organizations" / "rc", IDENTITIES)
    yield small
    small.stop()


@pytest.fixture(scope="module")
def run(own: StackInfo) -> Run:
    """`vitro ledger …`; what is secret is in none of its output."""

    def call(*arguments: str | Path, given: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= own.environment()
        command = [VITRO, "ledger", *arguments]
        done = subprocess.run(
            command, env=environment, input=given, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
        )
        for hidden in (SECRET, "PRIVATE KEY"):
            assert hidden not in done.stdout + done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def at(own: StackInfo, ca: SmallCa) -> tuple[str, ...]:
    """The flags that name the CA."""
    assert own.ledger is not None
    return ("--ca", ca.url, "--tls-ca", str(own.ledger["tls_chain"]))


def secret(own: StackInfo, name: str) -> dict[str, Any]:
    held: dict[str, Any] = json.loads(aws.client(own, "secretsmanager").get_secret_value(SecretId=name)["SecretString"])
    return held


@pytest.fixture(scope="module")
def boss(run: Run, at: tuple[str, ...]) -> str:
    """An admin of RC, enrolled into a secret."""
    name = "rc-boss"
    out = ("--msp", "RcMSP", "--enrollment-id", "boss", "--out", f"secret:{name}")
    done = run("enroll", *at, *out, "--json", given=SECRET + "\n")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["msp"], told["name"], told["role"]) == ("RcMSP", "boss", "admin")
    return name


@pytest.fixture(scope="module")
def profile(run: Run, own: StackInfo, boss: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A connection profile of the network as Managed Blockchain's calls tell it, and of the enrolled identity."""
    folder = tmp_path_factory.mktemp("profile")
    assert own.ledger is not None
    found: Any = own.ledger["managed_blockchain"]
    part, made = folder / "part.json", folder / "rc.json"
    done = run("discover", "--network", found["network"], "--tls-ca", str(own.ledger["tls_chain"]), "--out", part)
    assert done.returncode == 0, done.stderr
    done = run("make-profile", part, "--operator", "OperatorMSP", "--identity", f"secret:{boss}", "--out", made)
    assert done.returncode == 0, done.stderr
    return made


def test_an_enrolled_admin_speaks_for_its_organization(run: Run, profile: Path) -> None:
    done = run("--profile", profile, "configure-roles", "--json")
    assert done.returncode == 0, done.stderr
    done = run("--profile", profile, "status", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chain"]["height"] == 2


def test_an_identity_is_renewed_where_it_lies(
    run: Run, own: StackInfo, boss: str, profile: Path, at: tuple[str, ...]
) -> None:
    before = secret(own, boss)
    kept = run("reenroll", *at, "--identity", f"secret:{boss}", "--within-days", "30")
    assert (kept.returncode, secret(own, boss)) == (0, before), kept.stderr
    done = run("reenroll", *at, "--identity", f"secret:{boss}")
    assert done.returncode == 0, done.stderr
    after = secret(own, boss)
    assert after["msp"] == "RcMSP"
    assert after["certificate_pem"] != before["certificate_pem"]
    assert after["key_pem"] != before["key_pem"]
    # What the functions read is a whole profile: its identity is renewed, the rest stays.
    client = aws.client(own, "secretsmanager")
    whole = json.loads(profile.read_text())
    client.create_secret(Name="whole", SecretString=json.dumps(whole))
    done = run("reenroll", *at, "--identity", "secret:whole", "--reuse-key")
    assert done.returncode == 0, done.stderr
    renewed = secret(own, "whole")
    identity = renewed.pop("identity")
    assert identity["key_pem"] == whole["identity"]["key_pem"]
    assert identity["certificate_pem"] != whole.pop("identity")["certificate_pem"]
    assert renewed == whole
    profile.write_text(json.dumps(secret(own, "whole")))
    done = run("--profile", profile, "status")
    assert done.returncode == 0, done.stderr


def test_another_identity_is_not_replaced_by_accident(
    run: Run, own: StackInfo, boss: str, at: tuple[str, ...], ca: SmallCa
) -> None:
    before = secret(own, boss)
    other = ("enroll", *at, "--msp", "RcMSP", "--enrollment-id", "other-boss", "--out", f"secret:{boss}")
    done = run(*other, given=SECRET)
    assert (done.returncode, secret(own, boss)) == (1, before)
    assert "it holds boss of RcMSP" in done.stderr
    assert "other-boss" not in ca.used, "the secret was not spent"
    client = aws.client(own, "secretsmanager")
    client.create_secret(Name="other", SecretString=json.dumps(before))
    done = run(*other[:-1], "secret:other", "--replace", given=SECRET)
    assert done.returncode == 0, done.stderr
    assert secret(own, "other")["certificate_pem"] != before["certificate_pem"]


def test_a_wrong_secret_writes_nothing(run: Run, at: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "clerk.json"
    as_clerk = ("enroll", *at, "--msp", "RcMSP", "--enrollment-id", "clerk", "--out", str(out))
    done = run(*as_clerk, given="wrong")
    assert (done.returncode, "code 20" in done.stderr, out.exists()) == (1, True, False)
    assert "wrong" not in done.stderr.replace("its secret is wrong", "")
    done = run(*as_clerk)
    assert (done.returncode, out.exists()) == (2, False), done.stderr
    # The right one, from a file; used up by that.
    given = tmp_path / "secret"
    given.write_text(SECRET + "\n")
    assert run(*as_clerk, "--enrollment-secret", given).returncode == 1, "others can read the file"
    given.chmod(0o600)
    done = run(*as_clerk, "--enrollment-secret", given)
    assert (done.returncode, out.stat().st_mode & 0o777) == (0, 0o600), done.stderr
    done = run(*as_clerk, "--enrollment-secret", given)
    assert done.returncode == 1
    assert "used as often as it may be" in done.stderr


def test_a_certificate_that_is_over_is_neither_taken_nor_renewed(
    run: Run, at: tuple[str, ...], ca: SmallCa, tmp_path: Path
) -> None:
    out = tmp_path / "short.json"
    ca.days = -0.001
    try:
        options = ("--msp", "RcMSP", "--enrollment-id", "short", "--out", str(out))
        done = run("enroll", *at, *options, given=SECRET, cwd=tmp_path)
    finally:
        ca.days = 365.0
    assert (done.returncode, "it expired at" in done.stderr, out.exists()) == (1, True, False)
    # The secret is used up, so what came is kept with its key.
    (kept,) = tmp_path.iterdir()
    assert (kept.name in done.stderr, kept.stat().st_mode & 0o777) == (True, 0o600), done.stderr
    assert "PRIVATE KEY" in json.loads(kept.read_text())["key_pem"]


def test_an_identity_that_its_place_does_not_take_is_kept(run: Run, at: tuple[str, ...], tmp_path: Path) -> None:
    out = ("--msp", "RcMSP", "--enrollment-id", "unlucky", "--out", "no/such/folder.json")
    done = run("enroll", *at, *out, given=SECRET, cwd=tmp_path)
    (kept,) = tmp_path.iterdir()
    assert (done.returncode, kept.name in done.stderr) == (1, True), done.stderr
    assert kept.stat().st_mode & 0o777 == 0o600
    done = run("reenroll", *at, "--identity", kept)
    assert done.returncode == 0, done.stderr


def test_a_secret_goes_to_no_other_server(run: Run, own: StackInfo, ca: SmallCa, tmp_path: Path) -> None:
    strange = Path(own.state_dir) / "ledger" / "organizations" / "dv" / "tls-ca.cert.pem"
    out = ("--msp", "RcMSP", "--enrollment-id", "clerk", "--out", str(tmp_path / "x.json"))
    done = run("enroll", "--ca", ca.url, "--tls-ca", strange, *out, given=SECRET)
    assert (done.returncode, "invalid peer certificate" in done.stderr) == (1, True), done.stderr
    done = run("enroll", "--ca", "http://ca.example:7054", "--tls-ca", strange, *out, given=SECRET)
    assert done.returncode == 2
    assert "https" in done.stderr
