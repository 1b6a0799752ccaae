"""Fixtures on the local stack for every Python test below `tests/`.

    def test_something(installation: Installation) -> None:
        installation.invoke("heartbeat", {"now": 1_700_000_000_000})
        wait.until("the alarm", lambda: installation.alarms()["gaps"] == "ALARM", timeout=30)

- `stack` (session): a running local stack (`StackInfo`) of this test run alone: own state directory, free ports,
  the development ledger beside it when it is built (`stack.ledger`). No IAM checks, plain HTTP: fast.
- `installation` (session): customer `acme`, stage `test`, deployed to `stack` from template.yaml with
  `TEST_PARAMETERS`. Tests share it, so each one takes things (devices) with names of its own: `unique("meter")`.
- `auth_stack`, `auth_installation` (session): the same with `auth=True`: IAM roles of the functions and IoT
  policies are enforced, and the AWS endpoint speaks TLS (trust `stack.ca_path`). For the security tests.
- `new_stack` (session): a factory, `new_stack(auth=False, ledger=True) -> StackInfo`, for a test that must have
  a stack to itself (it kills things, or deploys two customers); deploy to it with
  `Installation.deploy(info, Deployment("acme", "test", parameters))`.
- `unique` (function): `unique("meter")` gives `meter-<8 hex digits>`.
- `repo` (session): root of the repository.

`Installation` has the rest: names, boto3 clients, queues, `invoke`, `logs`, `metric`, `alarms`, and
`environment()` for a child process such as `target/debug/vitro`. A message whose batch failed comes back after the
queue's visibility timeout (minutes, as on AWS): `installation.set_visibility(10)` where a test waits for that.

Wait with `stack.wait.until(what, condition, timeout)`, never with a sleep. Whatever a killed test run leaves
behind ends by itself: the emulator watches for the end of pytest's process.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stack import Deployment, Installation, Stack, StackConfig, StackError, StackInfo
from stack.model import REPO

# Shorter than in production only where a test would otherwise wait for wall-clock time.
TEST_PARAMETERS = {"SettleSeconds": "1"}

NewStack = Callable[..., StackInfo]


@pytest.fixture(scope="session")
def repo() -> Path:
    """Root of the repository."""
    return REPO


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Names that no other test uses."""
    return lambda stem: f"{stem}-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def new_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStack]:
    """A factory of stacks, all stopped at the end of the test run."""
    started: list[Stack] = []

    def start(*, auth: bool = False, ledger: bool = True) -> StackInfo:
        state_dir = tmp_path_factory.mktemp("stack")
        config = StackConfig(state_dir=state_dir, auth=auth, ledger=ledger, owner_pid=os.getpid())
        stack = Stack(config)
        started.append(stack)
        return stack.up()

    yield start
    for stack in started:
        stack.down()


def _installed(info: StackInfo) -> Installation:
    try:
        return Installation.deploy(info, Deployment("acme", "test", TEST_PARAMETERS))
    except StackError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def stack(new_stack: NewStack) -> StackInfo:
    """The stack that tests share."""
    return new_stack()


@pytest.fixture(scope="session")
def installation(stack: StackInfo) -> Installation:
    """The installation that tests share."""
    return _installed(stack)


@pytest.fixture(scope="session")
def auth_stack(new_stack: NewStack) -> StackInfo:
    """The stack that security tests share."""
    return new_stack(auth=True)


@pytest.fixture(scope="session")
def auth_installation(auth_stack: StackInfo) -> Installation:
    """The installation that security tests share."""
    return _installed(auth_stack)
