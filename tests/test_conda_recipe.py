"""The conda recipe says what pyproject.toml says."""

from __future__ import annotations

import tomllib

import pytest
from support.builders import ROOT

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
RECIPE = yaml.safe_load((ROOT / "conda.recipe" / "recipe.yaml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {
    "duckdb": "python-duckdb",
    "torch": "pytorch",
    "pymatgen-core": "pymatgen",
    "matplotlib": "matplotlib-base",
}


def conda(requirement: str) -> str:
    """``duckdb>=1.5.5`` as conda writes it."""
    name, _, version = requirement.partition(">=")
    name = name.partition("[")[0]
    return f"{CONDA_NAMES.get(name, name)} >={version}"


def test_name_version_summary_and_licence_are_those_of_the_project() -> None:
    assert RECIPE["package"]["name"] == PROJECT["name"]
    assert RECIPE["context"]["version"] == PROJECT["version"]
    assert RECIPE["about"]["summary"] == PROJECT["description"]
    assert RECIPE["about"]["license"] == PROJECT["license"]


def test_what_it_needs_is_what_the_project_needs() -> None:
    needed = [f"python {PROJECT['requires-python']}", *map(conda, PROJECT["dependencies"])]
    assert RECIPE["requirements"]["run"] == needed


def test_its_constraints_are_those_of_the_extras_that_users_install() -> None:
    extras = PROJECT["optional-dependencies"]
    listed = extras["all"][0].partition("[")[2].rstrip("]").split(",")
    assert RECIPE["requirements"]["run_constraints"] == [conda(r) for extra in listed for r in extras[extra]]


def test_it_starts_what_the_project_starts() -> None:
    [(name, where)] = PROJECT["scripts"].items()
    assert RECIPE["build"]["python"]["entry_points"] == [f"{name} = {where}"]
