"""The command line of the local stack, as far as it needs no stack."""

from __future__ import annotations

import datetime as dt
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from stack import Deployment, Stack, StackConfig, StackError, StackInfo, cli, hints
from stack.process import ManagedProcess

NOW = dt.datetime(2026, 11, 23, 5, 0, tzinfo=dt.UTC)


@pytest.fixture
def info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackInfo:
    """What a running stack says of itself; its process is this one."""
    found = StackInfo(
        state_dir=str(tmp_path),
        endpoint_url="http://127.0.0.1:4566",
        region="eu-central-1",
        account="123456789012",
        mqtt_host="127.0.0.1",
        mqtt_port=8883,
        ca_path=str(tmp_path / "a ca.pem"),
        auth=False,
        tls=False,
        deployments=["vitro-globex-prod", "vitro-acme-dev"],
    )
    found.save()
    monkeypatch.setattr(ManagedProcess, "pid", lambda _: 1)
    return found


def exports(info: StackInfo, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert cli.main(["--state-dir", info.state_dir, "env"]) == 0
    words = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert {word[0] for word in words} == {"export"}
    return dict(word[1].split("=", 1) for word in words)


def test_env_knows_the_last_deployment(info: StackInfo, capsys: pytest.CaptureFixture[str]) -> None:
    found = exports(info, capsys)
    assert (found["VITRO_CUSTOMER"], found["VITRO_STAGE"]) == ("acme", "dev")
    assert found["VITRO_MQTT_CA"] == info.ca_path
    replace(info, deployments=[]).save()
    assert "VITRO_CUSTOMER" not in exports(info, capsys)


def test_a_parameter_without_a_value_is_told(info: StackInfo, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("SettleSeconds", "=5"):
        assert cli.main(["--state-dir", info.state_dir, "deploy", "--parameter", text]) == 1
        assert f"--parameter {text}: NAME=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize(("ports", "what"), [((1, 0), "endpoint port is 4566, not 1"), ((4566, 2), "8883, not 2")])
def test_other_ports_than_the_running_stacks_are_told(info: StackInfo, ports: tuple[int, int], what: str) -> None:
    config = StackConfig(state_dir=Path(info.state_dir), port=ports[0], mqtt_port=ports[1], ledger=False)
    with pytest.raises(StackError, match=what):
        Stack(config).up()
    assert Stack(replace(config, port=4566, mqtt_port=8883)).up() == info


def test_hints_hold_commands_as_they_can_be_typed(info: StackInfo, repo: Path) -> None:
    text = hints.text(info, Deployment("acme", "dev"), NOW).replace("\\\n", " ")
    typed = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("  ")]
    vitro = [words for words in typed if words[0] in ("vitro", "vitro-device")]
    assert [words[1:3] for words in vitro if words[0] == "vitro"] == [
        ["ca", "new"],
        ["ca", "register"],
        ["command-key", "new"],
        ["device", "new"],
        ["readings", "sun-1"],
        ["day", "sun-1"],
        ["--help"],
    ]
    # At the site, the 22nd has not ended yet.
    (replay,) = (words for words in vitro if words[0] == "vitro-device")
    assert replay[-2:] == ["--day", "2026-11-21"]
    recordings = {word for words in vitro for word in words if word.startswith("recordings/")}
    assert len(recordings) == 2
    assert all((repo / path).is_file() for path in recordings)
    assert "export VITRO_CUSTOMER" not in text
    assert "Ledger        none" in text
    with_ledger = replace(info, ledger={"profiles": {"rc": "/a stack/profiles/rc.json"}})
    text = hints.text(with_ledger, Deployment("acme", "dev"), NOW)
    (line,) = (line for line in text.splitlines() if line.startswith("Ledger"))
    assert shlex.split(line)[-5:] == ["vitro", "ledger", "--profile", "/a stack/profiles/rc.json", "status"]
    assert "; export VITRO_CUSTOMER=globex VITRO_STAGE=prod" in hints.text(info, Deployment("globex", "prod"), NOW)
