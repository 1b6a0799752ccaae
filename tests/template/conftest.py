"""template.yaml, parsed and with its references resolved to readable text."""

from __future__ import annotations

from pathlib import Path

import pytest

from template.model import Template, load


@pytest.fixture(scope="session")
def template(repo: Path) -> Template:
    """The parsed template."""
    return load(repo / "template.yaml")
