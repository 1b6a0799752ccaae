"""Killing a function's environments while they work."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from stack import Installation, StackError


def failed_invocations(installation: Installation, function: str) -> int:
    """Invocations of a function that ended without an answer."""
    end = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    points = installation.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Dimensions=[{"Name": "FunctionName", "Value": installation.name(function)}],
        StartTime=end - dt.timedelta(hours=1),
        EndTime=end,
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return round(sum(point["Sum"] for point in points))


def receive_counts(installation: Installation) -> list[tuple[int, int]]:
    """What ingest said of messages that came again: how many in a batch, and the highest receive count."""
    lines = [line for line in installation.logs("ingest") if '"messages came again"' in line]
    return [(found["messages"], found["receive_count"]) for found in map(json.loads, lines)]


def kill_in_flight(
    installation: Installation, function: str, queue: str, kills: int, pause: Callable[[], float], timeout: float
) -> int:
    """Kills a working environment, one after another, until so many invocations have failed.

    `pause` says how long into its work each is killed, so that the kills fall on different points. Returns how many
    invocations failed; StackError when the queue runs empty before, or the time is over.
    """
    before = failed_invocations(installation, function)
    deadline = time.monotonic() + timeout
    failed = killed = 0
    while failed < kills:
        if time.monotonic() > deadline:
            raise StackError(f"{failed} of {killed} kills hit a batch within {timeout:g} s")
        if installation.waiting(queue) == 0:
            raise StackError(f"the queue is empty after {failed} of {killed} kills that hit a batch")
        working = installation.workers(function)
        if working:
            # Not a wait for something to happen: the moment of the kill is what is varied.
            time.sleep(pause())
            with suppress(ProcessLookupError):
                os.kill(working[killed % len(working)], signal.SIGKILL)
            killed += 1
        if killed >= kills:
            failed = failed_invocations(installation, function) - before
    return failed
