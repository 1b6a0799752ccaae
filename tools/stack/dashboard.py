"""A picture of a CloudWatch dashboard: its deployed body, its metrics as GetMetricData gives them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack import aws
from stack.model import StackError, StackInfo

# CloudWatch's grid: 24 columns, one row about half as high as a column is wide here.
COLUMNS = 24
QUERIES_PER_CALL = 500


@dataclass(frozen=True)
class Series:
    """One line of a widget: Unix seconds and values, oldest first."""

    label: str
    color: str | None
    times: list[float]
    values: list[float]


@dataclass(frozen=True)
class Widget:
    """One widget of the dashboard with the data it shows."""

    kind: str
    x: int
    y: int
    width: int
    height: int
    properties: dict[str, Any]
    series: list[Series]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard and the time range that it is read for, in Unix seconds."""

    name: str
    start: float
    end: float
    widgets: list[Widget]
    alarms: dict[str, str]
    """State of each alarm by its ARN."""


def read(info: StackInfo, name: str, start: dt.datetime, end: dt.datetime) -> Dashboard:
    """Reads the deployed body and what every widget shows between `start` and `end`."""
    cloudwatch = aws.client(info, "cloudwatch")
    try:
        body = json.loads(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"])
    except cloudwatch.exceptions.ClientError as error:
        raise StackError(f"no dashboard {name}: {error}") from None
    widgets = []
    for found in body["widgets"]:
        properties = found.get("properties", {})
        series = _series(cloudwatch, properties, start, end) if found["type"] == "metric" else []
        place = (found["x"], found["y"], found["width"], found["height"])
        widgets.append(Widget(found["type"], *place, properties, series))
    pages = cloudwatch.get_paginator("describe_alarms").paginate()
    alarms = {a["AlarmArn"]: a["StateValue"] for page in pages for a in page["MetricAlarms"]}
    return Dashboard(name, start.timestamp(), end.timestamp(), widgets, alarms)


def expand(metrics: list[list[Any]]) -> list[tuple[str, str, dict[str, str], dict[str, Any]]]:
    """Rows of a widget as (namespace, metric, dimensions, options); "." repeats the cell above, "..." several."""
    rows = []
    above: list[str] = []
    for row in metrics:
        options = row[-1] if isinstance(row[-1], dict) else {}
        cells = [cell for cell in row if not isinstance(cell, dict)]
        if cells and cells[0] == "...":
            cells = above[: len(above) - (len(cells) - 1)] + cells[1:]
        cells = [above[at] if cell == "." else cell for at, cell in enumerate(cells)]
        above = cells
        dimensions = dict(zip(cells[2::2], cells[3::2], strict=True))
        rows.append((cells[0], cells[1], dimensions, options))
    return rows


def _series(cloudwatch: Any, properties: dict[str, Any], start: dt.datetime, end: dt.datetime) -> list[Series]:
    rows = expand(properties.get("metrics", []))
    whole_range = properties.get("setPeriodToTimeRange", False)
    queries = []
    for at, (namespace, metric, dimensions, options) in enumerate(rows):
        period = options.get("period", properties.get("period", 300))
        if whole_range:
            # One value for the range. A fixed grid of periods may cut it in two; the sum below joins them.
            period = max(60, -(-int((end - start).total_seconds()) // 60) * 60)
        queries.append(
            {
                "Id": f"m{at}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": metric,
                        "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions.items()],
                    },
                    "Period": period,
                    "Stat": options.get("stat", properties.get("stat", "Average")),
                },
            }
        )
    found: dict[str, dict[float, float]] = {query["Id"]: {} for query in queries}
    for first in range(0, len(queries), QUERIES_PER_CALL):
        pages = cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries[first : first + QUERIES_PER_CALL], StartTime=start, EndTime=end
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                points = zip(result["Timestamps"], result["Values"], strict=True)
                found[result["Id"]] |= {time.timestamp(): value for time, value in points}
    series = []
    for at, (_, metric, _, options) in enumerate(rows):
        points = sorted(found[f"m{at}"].items())
        label = options.get("label", metric)
        times, values = [t for t, _ in points], [v for _, v in points]
        series.append(Series(label, options.get("color"), times, values))
    return series


def total(series: Series, stat: str) -> float | None:
    """A series as one number for the whole range; None when nothing was ever measured."""
    if not series.values:
        return None
    if stat == "Sum" or stat == "SampleCount":
        return sum(series.values)
    if stat == "Maximum":
        return max(series.values)
    if stat == "Minimum":
        return min(series.values)
    return sum(series.values) / len(series.values)


def render(dashboard: Dashboard, path: Path) -> None:
    """Draws the dashboard on its grid into a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from stack import widgets

    rows = max(widget.y + widget.height for widget in dashboard.widgets)
    figure = pyplot.figure(figsize=(18, rows * 0.62), dpi=90, facecolor="#f2f3f3")
    try:
        for widget in dashboard.widgets:
            widgets.draw(figure, dashboard, widget, rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, facecolor=figure.get_facecolor())
    finally:
        pyplot.close(figure)
