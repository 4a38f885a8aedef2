"""Tables fit the line: what matters most is shown whole, the rest is named."""

import click
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defectdb.cli.display.tables import fitted_widths, print_table, table_options

FRAME = pl.DataFrame(
    {"pair": ["Vac_Mo-Vac_S"], "MAE": [1.23456], "formula": ["0.3*exp(-r)" * 6], "status": ["active"]}
)


def printed(capsys, monkeypatch, width, frame=FRAME):
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(frame, "{:.3g}")
    return capsys.readouterr()


@pytest.mark.parametrize("width", [80, 60, 40])
def test_no_line_is_longer_than_the_terminal(capsys, monkeypatch, width):
    shown = printed(capsys, monkeypatch, width)
    assert max(map(len, shown.out.splitlines())) <= width
    assert shown.out.splitlines()[2].startswith("Vac_Mo-Vac_S  1.23  0.3*exp(-r)")


def test_columns_without_room_are_named(capsys, monkeypatch):
    told = printed(capsys, monkeypatch, 40).err
    assert told == "no room for status; a wider terminal (or COLUMNS=200) shows every column\n"


def test_wide_is_named_by_commands_that_have_it_alone(capsys, monkeypatch):
    @click.command()
    @table_options
    def command():
        print_table(FRAME, "{:.3g}")

    monkeypatch.setenv("COLUMNS", "40")
    command([], standalone_mode=False)
    assert capsys.readouterr().err == "no room for status; --wide shows every column\n"
    command(["--wide"], standalone_mode=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("width", "left"), [(200, []), (84, ["DL"]), (60, ["DL", "BIC"])])
def test_lighter_columns_make_room_for_the_formula(capsys, monkeypatch, width, left):
    numbers = pl.DataFrame({"tokens": [7], "BIC": [-512.25], "DL": [1040.5]})
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(numbers.hstack(FRAME.select("formula")), "{:.6g}", ("DL", "BIC", "nowhere"))
    out, err = capsys.readouterr()
    assert "0.3*exp(-r)" in out
    assert out.split()[: 4 - len(left)] == [n for n in ("tokens", "BIC", "DL", "formula") if n not in left]
    assert sorted(left) == sorted(n for n in ("DL", "BIC") if n in err)


def test_an_empty_result_says_so(capsys, monkeypatch):
    assert printed(capsys, monkeypatch, 80, FRAME.head(0)).err == "no rows\n"


def test_line_breaks_in_a_value_stay_in_its_row(capsys, monkeypatch):
    shown = printed(capsys, monkeypatch, 80, pl.DataFrame({"sql": ["SELECT 1\n  FROM t"]}))
    assert shown.out.splitlines()[2:] == ["SELECT 1 FROM t"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(1, 90), st.booleans()), min_size=1, max_size=9), st.integers(20, 200))
def test_widths_fill_the_line_and_never_pass_it(columns, room):
    natural, numeric = [width for width, _ in columns], [number for _, number in columns]
    widths = fitted_widths(natural, numeric, room)
    assert widths
    assert all(width <= whole for width, whole in zip(widths, natural, strict=False))
    assert len(widths) == 1 or sum(widths) + 2 * (len(widths) - 1) <= room
    assert all(
        width == whole for width, whole, number in zip(widths, natural, numeric, strict=False) if number
    )
