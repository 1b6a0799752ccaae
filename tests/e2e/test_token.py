"""A device whose key is inside a token: made, certified, registered, and its day `matched`, and no key lies in a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.support import observe, whole_day
from e2e.support.devices import ZONE, Registrar, yesterday
from e2e.support.programs import AGENT, VITRO
from stack import Installation

pytestmark = pytest.mark.e2e
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so")
PIN = "3141592653"


@pytest.fixture
def token(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A token of this test alone: its library, and the environment in which that finds it."""
    module = next((name for name in MODULES if Path(name).exists()), None)
    if module is None or not shutil.which("softhsm2-util"):
        assert not os.environ.get("CI"), "softhsm2 is not installed: `make setup` as root"
        pytest.skip("softhsm2 is not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\nlog.level = ERROR\n")
    (tmp_path / "pin").write_text(PIN + "\n")
    (tmp_path / "pin").chmod(0o600)
    environment = {"PATH": "/usr/bin:/bin", "SOFTHSM2_CONF": str(tmp_path / "softhsm2.conf"), "HOME": str(tmp_path)}
    init = ["softhsm2-util", "--init-token", "--free", "--label", "crystal", "--pin", PIN, "--so-pin", "27182818"]
    subprocess.run(init, env=environment, check=True, capture_output=True)
    return module, environment


def test_a_key_that_never_left_its_token_has_a_day_that_matches(
    installation: Installation,
    registrar: Registrar,
    unique: Callable[[str], str],
    token: tuple[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    module, environment = token
    environment |= installation.environment()
    # The first device of the registrar makes authority and command key.
    registrar.device(unique("first"))
    day, thing = yesterday(), unique("inside")
    csv, sensors, increase = whole_day.record(tmp_path, thing, day, "token")
    folder = tmp_path / thing
    step = str(whole_day.STEP_MINUTES * 60)
    new = ["device", "new", thing, "--ca", registrar.folder / "ca", "--out", folder, "--zone", ZONE, "--shard", "north"]
    new += ["--metering-point", f"point-{thing}", "--sensors", sensors, "--poll-interval", step, "--json"]
    new += ["--pkcs11", module, "--token", "crystal", "--pin-file", tmp_path / "pin"]

    def run(program: Path, *arguments: str | Path) -> str:
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=120)
        assert PIN not in done.stdout + done.stderr
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    made = json.loads(run(VITRO, *new))
    assert json.loads(run(VITRO, *new)) == made, "a second run changes nothing"
    assert not (folder / "key.pem").exists()
    assert json.loads(run(AGENT, "--folder", folder, "key", "show"))["public_key"] == made["public_key"]
    replay = ["replay", "--recording", csv, "--sensors", sensors, "--day", day, "--until-settled", "--deadline", "90"]
    report = json.loads(run(AGENT, "--folder", folder, *replay))
    assert report["settled"] is True
    settled = observe.settled(installation, thing, day)
    assert settled["outcome"] == "matched"
    assert observe.summary_increase(installation, settled, "energy") == increase
    assert observe.parked_by_the_stack(installation, thing) == []
    assert all(b"PRIVATE KEY" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())
