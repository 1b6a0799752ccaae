"""Turns one-minute data of NREL's Measurement and Instrumentation Data Center (MIDC) into a recording for the agent.

`python3 tools/recording/midc.py IN OUTDIR` writes `midc-<first day>.csv` and `.toml` beside it. Values are carried as
they were written, odd ones included; what MIDC marks missing (-9999 and the like, or nothing) becomes an empty cell.

An irradiation in kWh/m2 is taken as the yield in kWh of a plant of one square metre: a register that starts again every
day.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

# Zones of MIDC's stations: local standard time all year.
ZONES = {
    "UTC": "+00:00",
    "GMT": "+00:00",
    "EST": "-05:00",
    "CST": "-06:00",
    "MST": "-07:00",
    "PST": "-08:00",
    "AKST": "-09:00",
    "HST": "-10:00",
}
# MIDC's unit -> unit, kind, whether the register starts again in normal operation.
UNITS = {
    "W/m^2": ("W/m2", "gauge", False),
    "kWhr/m^2": ("kWh", "counter", True),
    "deg C": ("Cel", "gauge", False),
    "deg": ("deg", "gauge", False),
    "deg from N": ("deg", "gauge", False),
    "%": ("%", "gauge", False),
    "m/s": ("m/s", "gauge", False),
    "mBar": ("hPa", "gauge", False),  # the same, and in SenML's registry
    "mm": ("mm", "gauge", False),
    "V": ("V", "gauge", False),
}
# What people call these; every other column is named after its title.
NAMES = {"Global PSP": "irradiance", "Global PSP (Accumulated)": "energy"}
MISSING = re.compile(r"-9999+(\.\d*)?|-7999(\.0*)?|NAN|", re.IGNORECASE)
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


class Refused(Exception):
    """The input is not as MIDC writes it; the message says where."""


@dataclass(frozen=True)
class Column:
    """One sensor of the recording."""

    name: str
    unit: str
    kind: str
    resets_normal: bool

    @staticmethod
    def of(title: str) -> Column:
        """Reads a title such as `Temperature @ 2m [deg C]`."""
        match = re.fullmatch(r"(.+?) \[([^\]]+)\]", title)
        if match is None or match[2] not in UNITS:
            known = ", ".join(UNITS)
            raise Refused(f"column {title!r}: no unit in brackets, or none of: {known}")
        words = re.findall(r"[a-z0-9.]+", match[1].lower())
        unit, kind, resets = UNITS[match[2]]
        return Column(NAMES.get(match[1], "-".join(words)), unit, kind, resets)


def convert(text: str, origin: str) -> tuple[str, list[list[str]], str]:
    """Gives the first day, the rows of the CSV (its header first) and the TOML."""
    rows = csv.reader(text.splitlines())
    header = next(rows, [])
    if len(header) < 3 or not header[0].startswith("DATE") or header[1] not in ZONES:
        raise Refused("line 1: not `DATE (MM/DD/YYYY),<zone>,<columns>` with a zone of " + ", ".join(ZONES))
    columns = [Column.of(title) for title in header[2:]]
    if len({column.name for column in columns}) < len(columns):
        raise Refused("line 1: two columns have one name")
    out = [["time", *(column.name for column in columns)]]
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise Refused(f"line {line}: {len(row)} cells where the header has {len(header)}")
        try:
            moment = datetime.strptime(f"{row[0]} {row[1]}", "%m/%d/%Y %H:%M")
        except ValueError as fault:
            raise Refused(f"line {line}: {fault}") from fault
        out.append(
            [moment.isoformat() + ZONES[header[1]], *(_cell(cell, line, i) for i, cell in enumerate(row[2:], 3))]
        )
    if len(out) == 1:
        raise Refused("no rows")
    return out[1][0][:10], out, _toml(columns, origin)


def _cell(cell: str, line: int, column: int) -> str:
    cell = cell.strip()
    if MISSING.fullmatch(cell):
        return ""
    if NUMBER.fullmatch(cell) is None:
        raise Refused(f"line {line}, column {column}: {cell!r} is no number")
    return cell


def _toml(columns: list[Column], origin: str) -> str:
    parts = [f"# Columns of the recording beside this file, converted from {origin}.\nversion = 1\n"]
    for column in columns:
        part = f'\n[[column]]\ncolumn = "{column.name}"\nname = "{column.name}"\nunit = "{column.unit}"\n'
        part += f'kind = "{column.kind}"\n'
        if column.kind == "counter":
            part += f"resets_normal = {str(column.resets_normal).lower()}\n"
        parts.append(part)
    return "".join(parts)


def main() -> int:
    """Converts one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, metavar="IN", help="a file as MIDC serves it")
    parser.add_argument("directory", type=Path, metavar="OUTDIR", help="where the recording is written")
    arguments = parser.parse_args()
    try:
        day, rows, toml = convert(arguments.input.read_text(encoding="utf-8-sig"), arguments.input.name)
    except (Refused, OSError, UnicodeDecodeError) as fault:
        print(f"{arguments.input}: {fault}", file=sys.stderr)
        return 1
    arguments.directory.mkdir(parents=True, exist_ok=True)
    stem = arguments.directory / f"midc-{day}"
    with stem.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    stem.with_suffix(".toml").write_text(toml, encoding="utf-8")
    print(f"{stem}.csv: {len(rows) - 1} rows, {len(rows[0]) - 1} sensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
