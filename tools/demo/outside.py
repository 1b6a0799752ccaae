"""The implementation of another origin, in tests/outsider: the attacker's tools, and a second opinion on the recording."""

from __future__ import annotations

import sys

from demo.plan import Plan
from stack.model import REPO

sys.path.insert(0, str(REPO / "tests"))

from outsider import attack, publish, recording
from outsider.keys import Key

__all__ = ["Key", "attack", "increase", "publish"]


def increase(plan: Plan) -> str:
    """By how much the register rose on the recorded day, computed from the recording's rows alone."""
    start, end = plan.recorded_bounds()
    found = recording.increase(plan.recording, plan.column, plan.resets_normal, plan.width, start=start, end=end)
    return f"{found.normalize():f}"
