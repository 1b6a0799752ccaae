"""The template with functions that do nothing: small to deploy, and nothing empties the queues for good."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stack import Deployment, Installation, StackInfo
from stack.deploy import FUNCTIONS


@pytest.fixture(scope="session")
def bare_template(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of template.yaml beside functions that answer every event with nothing."""
    root = tmp_path_factory.mktemp("bare")
    for function in FUNCTIONS:
        folder = root / "target/lambda" / function
        folder.mkdir(parents=True)
        shutil.copy(Path(__file__).parent / "idle.py", folder / "bootstrap")
        (folder / "bootstrap").chmod(0o755)
    return Path(shutil.copy(repo / "template.yaml", root))


@pytest.fixture(scope="session")
def bare(new_stack: Callable[..., StackInfo], bare_template: Path) -> Installation:
    """An installation of it that enforces nothing."""
    return Installation.deploy(new_stack(ledger=False), Deployment("acme", "test", template=bare_template))
