"""Waiting for a condition with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from stack.model import StackError

T = TypeVar("T")


def until(what: str, condition: Callable[[], T | None], timeout: float, interval: float = 0.05) -> T:
    """Calls `condition` until it returns something true; StackError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise StackError(f"waited {timeout:g} s for {what}, in vain")
        time.sleep(interval)
