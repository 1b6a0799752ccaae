"""The embedded metric format: metrics read out of log lines, as CloudWatch does when they arrive.

Specification: "CloudWatch embedded metric format" in the Amazon CloudWatch user guide.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """Values of one metric under one set of dimensions; `timestamp` in Unix seconds."""

    namespace: str
    name: str
    unit: str
    dimensions: dict[str, str]
    values: tuple[float, ...]
    timestamp: float


def metrics(line: str, logged_ms: float) -> Iterator[Metric]:
    """The metrics in a log line; none when it is no EMF document."""
    if not line.startswith("{") or '"_aws"' not in line:
        return
    try:
        document = json.loads(line)
        header = document["_aws"]
        timestamp = float(header.get("Timestamp") or logged_ms or time.time() * 1000) / 1000
        for directive in header["CloudWatchMetrics"]:
            yield from _directive(document, directive, timestamp)
    except (ValueError, KeyError, TypeError, AttributeError):
        # CloudWatch, too, takes a broken document for an ordinary line.
        return


def _directive(document: dict[str, Any], directive: dict[str, Any], timestamp: float) -> Iterator[Metric]:
    for names in directive.get("Dimensions") or [[]]:
        if any(name not in document for name in names):
            continue
        dimensions = {name: str(document[name]) for name in names}
        for definition in directive["Metrics"]:
            found = document.get(definition["Name"])
            values = found if isinstance(found, list) else [found]
            numbers = tuple(float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool))
            if numbers:
                unit = definition.get("Unit", "None")
                yield Metric(directive["Namespace"], definition["Name"], unit, dimensions, numbers, timestamp)
