"""The OPTIMADE service: a real server process, the library's validator, and filters against SQL."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import warnings
from contextlib import contextmanager
from urllib.parse import quote

import numpy as np
import pytest
from support.doc_pages import json_keys

from defectdb.cli import run
from defectdb.db import open_database
from defectdb.db.access.time_limit import time_limit
from defectdb.db.atoms import atoms_of
from defectdb.errors import TimeLimitError

DOI = "10.1038/s41699-023-00369-1"


@contextmanager
def serving(database, *options):
    """The address of a server process; it is ended as Ctrl-C ends it, and must go without a traceback."""
    command = [
        sys.executable,
        "-m",
        "defectdb",
        "--db",
        str(database),
        "serve",
        "--port",
        "0",
        "--json",
        *options,
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            line = process.stderr.readline()
            found = re.match(r"(http://127\.0\.0\.1:\d+)/v1 answers", line)
            assert found, line + process.stderr.read()
            said = json.loads("".join(process.stdout.readline() for _ in range(4)))
            assert list(said) == json_keys("`serve`")
            assert said == {"address": f"{found[1]}/v1", "database": str(database)}
            yield found[1]
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60)[1].splitlines()[-1] == "ended"
            assert process.returncode == 0
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def database(toy_template, tmp_path_factory):
    """The toy's structures, of which the dataset is cited."""
    path = tmp_path_factory.mktemp("served") / "toy.duckdb"
    shutil.copyfile(toy_template, path)
    with open_database(path) as db, db.transaction():
        db.execute("UPDATE datasets SET doi = ?, citation = 'P. Huang et al., 2023'", [DOI])
    return path


@pytest.fixture(scope="module")
def server(database):
    with serving(
        database, "--time-limit", "60"
    ) as address:  # on a busy machine too, every request is answered
        yield address


def get(server, path, **parameters):
    """Status and JSON of an answer."""
    query = "&".join(f"{name}={quote(str(value))}" for name, value in parameters.items())
    try:
        with urllib.request.urlopen(f"{server}/v1/{path}?{query}", timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_library_s_validator_finds_no_fault(server):
    from optimade.validator import ImplementationValidator

    validator = ImplementationValidator(base_url=server, verbosity=0, page_limit=3, run_optional_tests=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's models warn of optional properties without a value
        validator.validate_implementation()
    assert validator.results.failure_messages == []
    assert validator.valid
    assert validator.results.success_count > 40


FILTERS = {
    'elements HAS "W"': "has_w",
    "_defectdb_n_defects = 2": "n_defects = 2",
    "2 >= _defectdb_n_defects AND NOT _defectdb_n_defects = 1": "n_defects = 2",
    '_defectdb_defects HAS ALL "Vac_Mo","Vac_S"':
        "list_has_all(string_split(defect_labels, '+'), ['Vac_Mo', 'Vac_S'])",
    '_defectdb_defects HAS ONLY "Vac_Mo","Vac_S"':
        "list_has_all(['Vac_Mo', 'Vac_S'], string_split(defect_labels, '+'))",
    "_defectdb_defects LENGTH > 1": "n_defects > 1",
    "_defectdb_formation_energy_per_site < 3.5 OR _defectdb_charge != 0": "w.formation_energy_per_site < 3.5",
    "_defectdb_predicted_homo_lumo_gap > 1.0": "p.value > 1.0",
    '_defectdb_descriptor STARTS WITH "Vac" AND _defectdb_descriptor CONTAINS "W_Mo"':
        "descriptor LIKE 'Vac%W!_Mo%' ESCAPE '!'",
    "_defectdb_predicted_extrapolated = TRUE": "p.extrapolated",
    "_defectdb_predicted_extrapolated = FALSE": "NOT p.extrapolated",
    "_defectdb_max_displacement IS UNKNOWN": "max_displacement IS NULL",
    '_exmpl_other = 3 OR id = "s0003"': "s.structure_id = 's0003'",
    "_defectdb_formation_energy > _defectdb_homo_lumo_gap": "w.formation_energy > w.homo_lumo_gap",
    'last_modified < "2026-01-01T01:00:00+02:00"': "FALSE",
    f'references.id HAS "{DOI}"': "TRUE",
    "nsites = 191 AND nperiodic_dimensions = 2": "n_atoms = 191",
}  # fmt: skip


@pytest.mark.parametrize("text", FILTERS)
def test_filters_count_what_sql_counts(server, database, text):
    with open_database(database, read_only=True) as db:
        count = db.value(
            f"""
            SELECT count(*) FROM (
                SELECT *, contains(defect_labels, 'W_Mo') AS has_w,
                    192 - (SELECT count(*) FROM defects AS d
                           WHERE d.structure_key = s.structure_key AND kind = 'vacancy') AS n_atoms
                FROM structures AS s
            ) AS s
            LEFT JOIN targets_wide AS w USING (structure_id)
            LEFT JOIN (SELECT structure_id, value, extrapolated FROM predictions WHERE target = 'homo_lumo_gap') AS p
            USING (structure_id)
            WHERE {FILTERS[text]}
            """
        )  # fmt: skip
    status, answer = get(server, "structures", filter=text, response_fields="nsites", page_limit=1)
    assert (status, answer["meta"]["data_returned"]) == (200, count)
    assert answer["meta"]["data_available"] == 63


def test_a_structure_is_its_atoms(server, database):
    with open_database(database, read_only=True) as db:
        [(name,)] = db.frame(
            "SELECT structure_id FROM structures WHERE defect_labels = 'Vac_Mo+Vac_S' ORDER BY ALL LIMIT 1"
        ).rows()
        lattice, elements, frac = atoms_of(db, [name])[name]
        [(energy, lower)] = db.frame(
            "SELECT value, lower_90 FROM predictions WHERE structure_id = ? AND target = 'formation_energy'",
            [name],
        ).rows()
    status, answer = get(server, f"structures/{name}")
    found = answer["data"]["attributes"]
    assert status == 200
    assert found["lattice_vectors"] == lattice
    assert found["species_at_sites"] == elements
    np.testing.assert_allclose(found["cartesian_site_positions"], frac @ np.array(lattice), atol=1e-12)
    assert found["nsites"] == len(found["cartesian_site_positions"]) == 190
    assert (found["species_at_sites"].count("Mo"), found["species_at_sites"].count("S")) == (63, 127)
    assert found["elements"] == [one["name"] for one in found["species"]] == ["Mo", "S"]
    assert found["elements_ratios"] == pytest.approx([63 / 190, 127 / 190])
    assert found["chemical_formula_reduced"] == found["chemical_formula_hill"] == "Mo63S127"
    assert found["chemical_formula_anonymous"] == "A127B63"
    assert (found["dimension_types"], found["nperiodic_dimensions"]) == ([1, 1, 0], 2)
    assert found["structure_features"] == []
    assert found["_defectdb_defects"] == ["Vac_Mo", "Vac_S"]
    assert found["_defectdb_predicted_formation_energy"] == pytest.approx(energy)
    assert found["_defectdb_predicted_formation_energy_lower_90"] == lower
    assert answer["data"]["relationships"]["references"]["data"] == [{"type": "references", "id": DOI}]
    assert answer["included"][0]["attributes"]["doi"] == DOI


def test_pages_follow_one_another_in_the_order_asked_for(server, database):
    order = "-_defectdb_formation_energy,id"
    seen, path = [], f"structures?sort={order}&page_limit=20&response_fields=_defectdb_formation_energy"
    link = f"{server}/v1/{path}"
    while link:
        with urllib.request.urlopen(link, timeout=120) as answer:
            page = json.load(answer)
        seen += [entry["id"] for entry in page["data"]]
        link = page["links"]["next"]
    with open_database(database, read_only=True) as db:
        sql = "SELECT structure_id FROM targets_wide ORDER BY formation_energy DESC, structure_id"
        assert seen == db.frame(sql)["structure_id"].to_list()
    assert len(set(seen)) == 63
    _, page = get(server, "structures", page_number=2, page_limit=10, response_fields="nsites")
    assert page["data"][0]["id"] == "s0010"
    assert "page_number=3" in page["links"]["next"]


@pytest.mark.parametrize(
    ("path", "parameters", "status", "sentence"),
    [
        ("structures", {"filter": "nsites >"}, 400, "it ends too early"),
        ("structures", {"filter": "nsites === 3"}, 400, "character"),
        ("structures", {"filter": "_defectdb_nonsense = 3"}, 400, "'_defectdb_nonsense' is not a known"),
        ("structures", {"filter": 'nsites = "x"'}, 400, "nsites is a integer; 'x' is none"),
        ("structures", {"filter": 'last_modified = "yesterday"'}, 400, "'yesterday' is none"),
        ("structures", {"filter": "elements = 1"}, 400, "with HAS"),
        ("structures", {"filter": "(" * 900 + "nsites=1" + ")" * 900}, 400, "too many brackets"),
        ("structures", {"filter": "nsites=1 OR " * 400 + "nsites=2"}, 400, "4,000 characters"),
        ("structures", {"filter": 'species HAS "Mo"'}, 501, "items of species"),
        ("structures", {"page_limit": 1001}, 403, "1000"),
        ("structures", {"sort": "nonsense"}, 400, "nonsense"),
        ("structures", {"sort": "species"}, 400, "cannot be sorted by species"),
        ("structures", {"response_format": "xml"}, 400, "xml"),
        ("nothing", {}, 404, "Not Found"),
    ],
)
def test_a_wrong_request_is_answered_by_an_error_object(server, path, parameters, status, sentence):
    found, answer = get(server, path, **parameters)
    assert found == status
    assert sentence in answer["errors"][0]["detail"]
    assert "data" not in answer


def test_values_are_bound_and_never_become_sql(server):
    for text in ("x' OR TRUE --", "'; DROP TABLE structures; --", '\\" OR id != \\"'):
        status, answer = get(server, "structures", filter=f'_defectdb_material = "{text}"')
        assert (status, answer["meta"]["data_returned"]) == (200, 0)
    status, answer = get(server, "structures/" + quote('s0001" OR id != "'))
    assert (status, answer["data"]) == (200, None)
    huge = get(server, "structures", filter=f"nsites < {10**40}", page_offset=10**30)
    assert (huge[0], huge[1]["data"], huge[1]["meta"]["data_returned"]) == (200, [], 63)


def test_own_properties_have_units_and_meanings(server):
    _, answer = get(server, "info/structures")
    own = {name: entry for name, entry in answer["data"]["properties"].items() if name.startswith("_")}
    assert own["_defectdb_formation_energy"]["unit"] == "eV"
    assert all(entry["description"] for entry in own.values())
    _, page = get(server, "structures", page_limit=1)
    assert set(own) <= set(page["data"][0]["attributes"])


def test_a_database_is_free_for_writers_between_requests(server, database):
    results = []

    def read():
        for _ in range(3):
            results.append(get(server, "structures", page_limit=5)[0])

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(3):
        with open_database(database, wait=60) as db, db.transaction():
            db.execute("UPDATE datasets SET name = ?", [f"name {number}"])
    for reader in readers:
        reader.join()
    assert results == [200] * 9


def test_a_request_that_takes_too_long_is_answered_and_not_waited_for(database):
    with serving(database, "--time-limit", "0.001") as server:
        for _ in range(50):  # one that ends before it is stopped is answered
            status, answer = get(server, "structures")
            if status != 200:
                break
    assert status == 504
    assert "took longer than 0.001 seconds" in answer["errors"][0]["detail"]


def test_a_writer_that_stays_is_said_in_a_sentence(database):
    with serving(database, "--time-limit", "1") as server, open_database(database) as db, db.transaction():
        status, answer = get(server, "structures")
    assert status == 503
    assert "the database is being written" in answer["errors"][0]["detail"]


def test_a_query_is_stopped_at_its_time(database):
    endless = "SELECT count(*) FROM range(10000000) AS a, range(10000000) AS b WHERE hash(a, b) = 1"
    with open_database(database, read_only=True) as db:
        with pytest.raises(TimeLimitError, match=r"longer than 0\.2 seconds"), time_limit(db, 0.2):
            db.value(endless)
        assert db.value("SELECT 1") == 1


def test_without_the_library_the_extra_is_named(database, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("defectdb.serve.optimade")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optimade", None)
    assert run(["--db", str(database), "serve"]) == 2
    assert "pip install 'defectdb[serve]'" in capsys.readouterr().err


def test_a_port_in_use_is_named(server, database, capsys):
    assert run(["--db", str(database), "serve", "--port", server.rpartition(":")[2]]) == 2
    assert "cannot be used" in capsys.readouterr().err


def test_a_page_is_what_the_library_s_model_of_pages_makes_of_it(server):
    from optimade.models import StructureResponseMany

    status, answer = get(server, "structures", page_limit=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's models use what pydantic will remove
        page = StructureResponseMany.model_validate(answer)
    assert status == 200
    assert json.loads(page.model_dump_json(by_alias=True, exclude_unset=True)) == answer
