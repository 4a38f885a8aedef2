"""`defectdb learn --units` and `formulas show`: the units of constants on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from defectdb.cli import run


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTDB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_json_tells_the_units_of_the_constants(toy_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "learn",
        "--pair",
        "Vac_Mo-Vac_S",
        "--generations",
        "1",
        "--population",
        "64",
        "--max-tokens",
        "9",
    ]
    assert run(["--db", str(toy_path), *asked, "--units", "--json"]) == 0
    kernel = json.loads(capsys.readouterr().out)["kernels"][0]
    for formula in kernel["front"]:
        assert len(formula["units"]) == formula["n_constants"]
        assert not {"cos(r)", "exp(r)", "exp(-r)", "tanh(r)"} & set(formula["infix"].split("*"))
    assert run(["--db", str(toy_path), *asked, "--json"]) == 0
    assert "units" not in json.loads(capsys.readouterr().out)["kernels"][0]["front"][0]


def test_a_formula_that_is_sound_is_shown_with_the_units_of_its_constants(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        "learn",
        "--pair",
        "Vac_Mo-Vac_S",
        "--generations",
        "0",
        "--max-tokens",
        "9",
        "--units",
        "--json",
    ]
    assert run(["--db", str(toy_path), *asked]) == 0
    kernel = json.loads(capsys.readouterr().out)["kernels"][0]
    told = next(f["units"] for f in kernel["front"] if f["chosen"])
    assert run(["--db", str(toy_path), "formulas", "show", str(kernel["formula_id"]), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["units"]
    assert len(shown.split(", ")) == len(told)
    assert ("c0 eV" in shown) == (told[0] == {"angstrom": 0.0, "eV": 1.0})
