"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from e2e.support.devices import Device, Registrar
from e2e.support.parties import Parties
from stack import Installation

# Longer than any invocation of these tests takes, and short enough to wait for.
VISIBILITY = 2


@pytest.fixture(scope="session")
def registrar(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Registrar:
    """Provisions devices of the shared installation, whose failed messages come back soon."""
    installation.set_visibility(VISIBILITY)
    return Registrar(installation, tmp_path_factory.mktemp("devices"))


@pytest.fixture
def device(registrar: Registrar, unique: Callable[[str], str]) -> Device:
    """A device of this test alone."""
    return registrar.device(unique("meter"))


@pytest.fixture(scope="session")
def parties(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """The four parties on the shared installation's ledger."""
    return Parties(installation, tmp_path_factory.mktemp("parties"))
