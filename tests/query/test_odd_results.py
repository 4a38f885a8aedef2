"""Results of any SQL type and requests of any kind at the terminal: text, JSON or one message, never a traceback."""

from __future__ import annotations

import json

import pytest
from support.toy_database import fill

from defectdb.cli import run
from defectdb.db import open_database


@pytest.fixture
def shell(tmp_path, capfd):
    """Run a command on the toy database; exit code, stdout, stderr."""
    with open_database(tmp_path / "d.duckdb", create=True) as db:
        fill(db)

    def go(*words):
        code = run(["--db", str(tmp_path / "d.duckdb"), *words])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return go


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("5::hugeint", 5),
        ("1.5::decimal(9, 3)", 1.5),
        ("12345678901234567890::decimal(38, 0)", 12345678901234567890),
        ("'a'::blob", "61"),
        ("time '10:00'", "10:00:00"),
        ("date '2020-01-01'", "2020-01-01"),
        ("timestamp '2020-01-01 10:00:00'", "2020-01-01T10:00:00"),
        ("[1, NULL]", [1, None]),
        ("{'a': 'nan'::double}", {"a": None}),
        ("'é'", "é"),
        ("NULL", None),
    ],
)
def test_values_of_every_type_are_json_and_csv(shell, sql, value):
    code, out, _ = shell("sql", f"SELECT {sql} AS x", "--json")
    assert (code, json.loads(out)) == (0, [{"x": value}])
    code, out, _ = shell("sql", f"SELECT {sql} AS x", "--format", "csv")
    assert (code, out.splitlines()[0]) == (0, "x")


@pytest.mark.parametrize("sql", ["SELECT interval 1 day", "SELECT 'x'::union(n int, s varchar)"])
def test_types_that_no_frame_has_are_named(shell, sql):
    code, _, err = shell("sql", sql)
    assert code == 2
    assert "write CAST(column AS VARCHAR)" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("sql", " "), 2, "the query is empty"),
        (("sql", "FROM range(3)", "-o", "no/x.csv"), 3, "no/x.csv: cannot be written: No such file"),
        (("select", "n_defects=three"), 2, "n_defects is a number; 'three' is none"),
        (("select", "Vac_S>=many"), 2, "Vac_S is a number; 'many' is none"),
        (("select", "relaxed=perhaps"), 2, "relaxed is true or false, not 'perhaps'"),
        (("enumerate", "--material", "MoS2", "--supercell", "8,8", "--defects", ","), 2, "names no defect"),
        (
            (
                "enumerate",
                "--material",
                "MoS2",
                "--supercell",
                "8,8",
                "--defects",
                "Vac_S",
                "--concentration",
                "nan",
            ),
            2,
            "a concentration is a share of the sites",
        ),
        (("select", "-L", "9" * 20), 2, "is not in the range"),
        (("ingest", "nothing.cif", "--cutoff", "nan"), 2, "the cutoff must lie between"),
        (
            ("ingest", "nothing.cif", "--max-displacement", "-1"),
            2,
            "the largest displacement must lie between",
        ),
        (("ingest", "nothing.cif", "--name", " "), 2, "--name is empty"),
        (("predict", "nothing.cif", "--target", "gap"), 2, "unknown target 'gap'"),
    ],
)
def test_wrong_requests_end_with_a_message_and_the_agreed_exit_code(shell, words, code, message):
    found, _, err = shell(*words)
    assert found == code
    assert message in err


def test_filters_compare_text_with_text_and_flags_with_flags(shell):
    for filters, sql in {"descriptor=3": "false", "relaxed=false": "NOT relaxed", "Vac_S=1": (
        "(SELECT count(*) FROM defects AS d WHERE d.structure_id = s.structure_id AND label = 'Vac_S') = 1"
    )}.items():  # fmt: skip
        _, out, _ = shell("select", filters, "-n")
        _, wanted, _ = shell("sql", f"SELECT count(*) AS n FROM structures AS s WHERE {sql}", "--json")
        assert int(out) == json.loads(wanted)[0]["n"]


def test_an_empty_file_is_named_as_no_database(tmp_path, capfd):
    (tmp_path / "empty.duckdb").touch()
    assert run(["--db", str(tmp_path / "empty.duckdb"), "status"]) == 4
    assert "is an empty file and no database" in capfd.readouterr().err
