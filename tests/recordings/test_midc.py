"""The converter of MIDC's text."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from recording import midc

RECORDINGS = Path(__file__).parents[2] / "recordings"
TEXT = """DATE (MM/DD/YYYY),MST,Global PSP [W/m^2],Global PSP (Accumulated) [kWhr/m^2],Temperature @ 2m [deg C]
10/14/2018,00:00,-7.69272,4.61923,-4.669
10/14/2018,00:01,-99999,0,
"""


def test_values_stay_as_they_were_written_and_missing_ones_become_empty() -> None:
    day, rows, _ = midc.convert(TEXT, "x.txt")
    assert day == "2018-10-14"
    assert rows == [
        ["time", "irradiance", "energy", "temperature-2m"],
        ["2018-10-14T00:00:00-07:00", "-7.69272", "4.61923", "-4.669"],
        ["2018-10-14T00:01:00-07:00", "", "0", ""],
    ]


def test_the_accumulated_energy_is_a_register_that_is_reset() -> None:
    _, _, toml = midc.convert(TEXT, "x.txt")
    assert 'name = "energy"\nunit = "kWh"\nkind = "counter"\nresets_normal = true\n' in toml
    assert 'name = "irradiance"\nunit = "W/m2"\nkind = "gauge"\n\n' in toml


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("MST", "XYZ", "line 1: not"),
        ("deg C", "deg X", "column 'Temperature @ 2m [deg X]'"),
        ("10/14/2018,00:00", "14/10/2018,00:00", "line 2: "),
        ("4.61923", "4,61923", "line 2: 6 cells"),
        ("4.61923", "n/a", "line 2, column 4: 'n/a' is no number"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(old: str, new: str, told: str) -> None:
    with pytest.raises(midc.Refused) as refused:
        midc.convert(TEXT.replace(old, new), "x.txt")
    assert str(refused.value).startswith(told)


def test_the_program_writes_both_files(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text(TEXT)
    program = [sys.executable, midc.__file__, source, tmp_path / "out"]
    subprocess.run(program, check=True, capture_output=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "midc-2018-10-14.csv",
        "midc-2018-10-14.toml",
    ]


def test_the_carried_recording_is_a_whole_day_with_its_odd_first_row() -> None:
    with (RECORDINGS / "midc-2018-10-14.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1440
    assert [row["energy"] for row in rows[:2]] == ["4.61923", "0"]
    assert rows[-1]["energy"] == "3.09030"
