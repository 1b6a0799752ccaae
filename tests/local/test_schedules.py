"""The schedules of the template wake their functions with the input that the template gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from stack import Installation, wait

SCHEDULES = {"deadline": "summarize", "heartbeat": "heartbeat", "hours": "heartbeat", "bill": "bill"}


def starts(bare: Installation, function: str) -> int:
    """How often a function was invoked."""
    return sum(line.startswith("START") for line in bare.logs(function))


def test_schedules_wake_their_functions(bare: Installation, unique: Callable[[str], str]) -> None:
    scheduler = bare.client("scheduler")
    before = {function: starts(bare, function) for function in SCHEDULES.values()}
    for schedule, function in SCHEDULES.items():
        found = scheduler.get_schedule(Name=bare.name(schedule))
        assert found["State"] == "ENABLED"
        assert found["Target"]["Arn"].endswith(f":function:{bare.name(function)}")
        # Nobody can turn the emulator's clock, so a copy of the schedule is due at once.
        scheduler.create_schedule(
            Name=unique(schedule),
            ScheduleExpression="at(2020-01-01T00:00:00)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target=found["Target"],
            ActionAfterCompletion="DELETE",
        )
    due = Counter(SCHEDULES.values())
    for function, count in before.items():
        wait.until(f"{function} to be woken", lambda f=function, n=count: starts(bare, f) >= n + due[f], 40, 0.5)
