"""Drawing the widgets of a dashboard with matplotlib."""

from __future__ import annotations

import datetime as dt
import textwrap
from typing import Any

from matplotlib import dates, ticker
from matplotlib.patches import FancyBboxPatch

from stack.dashboard import COLUMNS, Dashboard, Widget, total

# CloudWatch's own order of colours for series that name none.
PALETTE = [
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2"),
    *("#7f7f7f", "#bcbd22", "#17becf", "#aec7e8", "#ffbb78", "#98df8a", "#ff9896"),
    *("#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5"),
]
ALARM_COLORS = {"OK": "#1d8102", "ALARM": "#d13212", "INSUFFICIENT_DATA": "#687078"}
INK = "#16191f"
QUIET = "#545b64"
LEGEND_ROWS = 5


def draw(figure: Any, dashboard: Dashboard, widget: Widget, rows: int) -> None:
    """Draws one widget on its place in the grid."""
    card = _card(figure, widget, rows)
    title = widget.properties.get("title")
    if title:
        left, top = 0.16 / widget.width, 1 - 0.2 / widget.height
        card.text(left, top, title, va="top", fontsize=11.5, fontweight="bold", color=INK)
    if widget.kind == "text":
        _text(card, widget.properties.get("markdown", ""))
    elif widget.kind == "alarm":
        _alarms(card, dashboard, widget)
    elif widget.properties.get("view") == "singleValue":
        _single_values(card, widget)
    elif widget.properties.get("view") == "bar":
        _bars(card, widget)
    else:
        _lines(card, dashboard, widget)


def _card(figure: Any, widget: Widget, rows: int) -> Any:
    gap_x, gap_y = 0.06 / COLUMNS, 0.06 / rows
    left, bottom = widget.x / COLUMNS + gap_x, 1 - (widget.y + widget.height) / rows + gap_y
    width, height = widget.width / COLUMNS - 2 * gap_x, widget.height / rows - 2 * gap_y
    card = figure.add_axes((left, bottom, width, height))
    card.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], facecolor="none")
    for spine in card.spines.values():
        spine.set_visible(False)
    card.add_patch(
        FancyBboxPatch(
            (0, 0), 1, 1, boxstyle="square,pad=0", facecolor="white", edgecolor="#d5dbdb", transform=card.transAxes
        )
    )
    return card


def _color(widget: Widget, at: int) -> str:
    return widget.series[at].color or PALETTE[at % len(PALETTE)]


def _text(card: Any, markdown: str) -> None:
    head, _, rest = markdown.partition("\n")
    if head.startswith("#"):
        card.text(0.01, 0.72, head.lstrip("# "), va="center", fontsize=19, fontweight="bold", color=INK)
    else:
        rest = markdown
    card.text(0.01, 0.28, textwrap.fill(rest.strip(), 170), va="center", fontsize=11, color=QUIET)


def _plot_area(card: Any, bottom: float, top: float) -> Any:
    # On a clock axis the last label stands half beyond the end, so the right edge keeps away.
    return card.inset_axes((0.085, bottom, 0.885, top - bottom))


def _style(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#aab7b8")
    axes.grid(axis="y", color="#eaeded", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8.5, labelcolor=QUIET)


def _lines(card: Any, dashboard: Dashboard, widget: Widget) -> None:
    shown = [at for at, series in enumerate(widget.series) if series.values]
    legend = shown or list(range(len(widget.series)))
    columns = 3
    legend_rows = min(-(-len(legend) // columns), LEGEND_ROWS)
    axes = _plot_area(card, 0.15 + 0.055 * legend_rows, 0.86)
    _style(axes)
    period = widget.properties.get("period", 300)
    if widget.properties.get("stacked"):
        _stack(axes, widget, shown, period)
    else:
        for at in shown:
            series = widget.series[at]
            times = [_instant(time) for time in series.times]
            axes.plot(times, series.values, color=_color(widget, at), linewidth=1.8, marker="o", markersize=2.6)
    axes.set_xlim(_instant(dashboard.start), _instant(dashboard.end))
    axis = widget.properties.get("yAxis", {}).get("left", {})
    highest = axes.get_ylim()[1]
    if "min" in axis:
        # CloudWatch, too, shows a line of zeros below a whole unit.
        axes.set_ylim(axis["min"], max(highest, axis["min"] + 1))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(nbins=5, integer=highest > 1 or not shown))
    if not shown:
        axes.text(0.5, 0.5, "No data in this time range", ha="center", transform=axes.transAxes, color=QUIET)
    if axis.get("label"):
        axes.set_title(axis["label"], loc="left", fontsize=8.5, color=QUIET, pad=3)
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=7))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M", tz=dt.UTC))
    for place, at in enumerate(legend[: columns * legend_rows]):
        x, y = 0.03 + 0.325 * (place % columns), 0.055 * (legend_rows - place // columns)
        card.add_patch(
            FancyBboxPatch((x, y - 0.012), 0.012, 0.024, boxstyle="square,pad=0", color=_color(widget, at), linewidth=0)
        )
        card.text(x + 0.022, y, widget.series[at].label, va="center", fontsize=8.5, color=INK)


def _stack(axes: Any, widget: Widget, shown: list[int], period: int) -> None:
    base: dict[float, float] = {}
    width = dt.timedelta(seconds=period * 0.8)
    for at in shown:
        series = widget.series[at]
        bottoms = [base.get(time, 0.0) for time in series.times]
        # A value stands for the period that begins at its time.
        middles = [_instant(time + period / 2) for time in series.times]
        axes.bar(middles, series.values, width, bottom=bottoms, color=_color(widget, at))
        for time, value in zip(series.times, series.values, strict=True):
            base[time] = base.get(time, 0.0) + value


def _bars(card: Any, widget: Widget) -> None:
    axes = _plot_area(card, 0.12, 0.84)
    _style(axes)
    stat = widget.properties.get("stat", "Average")
    values = [total(series, stat) for series in widget.series]
    colors = [_color(widget, at) for at in range(len(widget.series))]
    drawn = axes.bar(range(len(values)), [v or 0 for v in values], color=colors, width=0.6)
    axes.set_xticks(range(len(values)), [series.label for series in widget.series])
    axes.bar_label(drawn, [_number(value) for value in values], fontsize=11, color=INK, padding=2)
    axes.set_ylim(0, max([*(v or 0 for v in values), 1]) * 1.18)
    axes.yaxis.get_major_locator().set_params(integer=True)


def _single_values(card: Any, widget: Widget) -> None:
    stat = widget.properties.get("stat", "Average")
    count = len(widget.series)
    for at, series in enumerate(widget.series):
        x = (at + 0.5) / count
        number = _number(total(series, stat))
        card.text(x, 0.54, number, ha="center", va="center", fontsize=36, color=_color(widget, at))
        card.text(x, 0.28, series.label, ha="center", va="center", fontsize=11, color=QUIET)


def _alarms(card: Any, dashboard: Dashboard, widget: Widget) -> None:
    # About as wide as a name and its state, whatever the widget's width.
    columns = max(1, round(widget.width / 3.4))
    arns = widget.properties["alarms"]
    lines = -(-len(arns) // columns)
    for at, arn in enumerate(arns):
        state = dashboard.alarms.get(arn, "INSUFFICIENT_DATA")
        name = arn.rpartition(":")[2].removeprefix(f"{dashboard.name}-")
        x, y = 0.01 + (at % columns) * 0.99 / columns, 0.70 - (at // columns) * 0.78 / lines
        height = 0.62 / lines
        card.add_patch(
            FancyBboxPatch(
                (x, y - height / 2),
                0.9 / columns,
                height,
                boxstyle="square,pad=0",
                facecolor="white" if state != "ALARM" else "#fdf3f1",
                edgecolor=ALARM_COLORS[state],
            )
        )
        words = {"OK": "OK", "ALARM": "In alarm", "INSUFFICIENT_DATA": "No data"}[state]
        card.text(x + 0.006, y, name, va="center", fontsize=9.5, color=INK)
        card.text(
            x + 0.9 / columns - 0.006,
            y,
            words,
            va="center",
            ha="right",
            fontsize=9,
            fontweight="bold",
            color=ALARM_COLORS[state],
        )


def _instant(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _number(value: float | None) -> str:
    return "--" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
