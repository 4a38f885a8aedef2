"""Algebra shortens a front's formulas, changes no value, and is cut off when it takes too long."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from support.random_formulas import formulas

from defectdb.engine.finishing import sympy_process as algebra
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.finishing.sympy_process import COMMAND, Algebra, same_values, shortened
from defectdb.engine.grammar.grammar import DEFAULT_OPERATORS, Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import Domain
from defectdb.engine.safety.poles import has_pole
from defectdb.engine.search.search import Search
from defectdb.engine.settings import SearchConfig
from defectdb.expressions.algebra import shorter_forms
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import complexity, from_prefix, to_prefix
from defectdb.expressions.operators import OPERATORS

R = np.linspace(0.7, 4.3, 23)
PLAIN = tuple(name for name in DEFAULT_OPERATORS)


def shortest(text: str, constants: tuple[float, ...] = (), operators: tuple[str, ...] = PLAIN) -> str:
    tree = from_prefix(text.split())
    found = [
        form
        for thorough in (False, True)
        for form in shorter_forms(tree, constants, operators, thorough=thorough)
    ]
    best = min(found, key=lambda form: complexity(form[0]), default=(tree, constants))
    return " ".join(to_prefix(best[0]))


@pytest.mark.parametrize(
    ("long", "constants", "short"),
    [
        ("add square r square r", (), "mul 2 square r"),
        ("add mul r r mul r r", (), "mul 2 square r"),
        ("mul r mul r mul r r", (), "square square r"),
        ("mul r add square sin r square cos r", (), "r"),
        ("mul exp mul c0 r exp mul c1 r", (1.5, -0.25), "exp mul c0 r"),
        ("add mul c0 r mul c1 r", (1.0, 2.0), "mul c0 r"),
        ("add mul c0 cos r mul c1 cos r", (1.0, -3.0), "mul c0 cos r"),
        ("sub mul c0 exp mul c1 r mul c0 exp mul c1 r", (2.0, 3.0), "0"),
        ("div sub square r 4 sub r 2", (), "add 2 r"),
        ("add mul c0 r mul c1 square r", (1.5, 2.5), "mul r add c0 mul c1 r"),
        ("mul c0 mul cos r exp neg r", (2.0,), "div mul c0 cos r exp r"),
        ("sqrt mul square r square r", (), "square r"),
    ],
)
def test_known_identities_are_found(long: str, constants: tuple[float, ...], short: str) -> None:
    assert shortest(long, constants) == short


def test_operators_that_are_not_allowed_do_not_come_back() -> None:
    assert shortest("mul mul r r mul r r", operators=("mul", "add")) == "mul mul r r mul r r"
    assert (
        shortest("mul mul exp r exp r cos r", operators=("mul", "exp", "cos")) == "mul mul exp r exp r cos r"
    )


def test_a_quotient_of_integers_stays_one() -> None:
    assert shortest("mul div 1 3 mul r mul r r") == "div cube r 3"


@pytest.fixture(autouse=True)
def time_of_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wall-clock limits so wide that a busy machine changes no result; those of processor time stay."""
    monkeypatch.setattr(algebra, "TOTAL_SECONDS", 300.0)


@pytest.fixture(scope="module")
def helper() -> Iterator[Algebra]:
    with Algebra(time.monotonic() + 3600) as started:
        yield started


@settings(max_examples=80, deadline=None)
@given(formulas())
def test_a_shorter_form_has_the_values_of_the_formula(helper: Algebra, formula) -> None:
    """Where it has others, rounding errors are all that the formula holds."""
    expression, constants = formula
    env = {"r": R, "dz": R[::-1].copy()}
    before = evaluate_numpy(expression, env, constants)
    assume(np.isfinite(before).all() and 1e-8 < np.abs(before).max() < 1e8)
    asked = Scored(expression, constants, complexity(expression), 0.0, 0.0, 0.0, 0.0, 0.0, ())
    for thorough in (False, True):
        for form, numbers in helper.forms(asked, list(OPERATORS), thorough):
            after = evaluate_numpy(form, env, numbers)
            assert complexity(form) < complexity(expression)
            assert np.allclose(after, before, rtol=1e-6, atol=1e-7 * np.abs(before).max()), to_prefix(form)


def scored(prefix: str, constants: tuple[float, ...], y: np.ndarray, r: np.ndarray = R) -> Scored:
    expression = from_prefix(prefix.split())
    error = y - evaluate_numpy(expression, {"r": r}, constants)
    mse, mae = float(np.mean(error**2)), float(np.mean(np.abs(error)))
    return Scored(expression, constants, complexity(expression), mse, mae, mae, mae, 0.0, ())


def problem(y: np.ndarray, r: np.ndarray = R) -> Problem:
    return Problem.of(torch.from_numpy(r), torch.from_numpy(y))


def soon(seconds: float = 200.0) -> float:
    return time.monotonic() + seconds


def texts(front: list[Scored]) -> list[str]:
    return [" ".join(to_prefix(s.expression)) for s in front]


def test_a_front_gets_shorter_and_loses_what_is_surpassed_then() -> None:
    y = 3 * R + 2 * np.exp(-R)
    front = [
        scored("mul c0 r", (3.0,), y),
        scored("add c0 mul c1 add r exp neg r", (0.1, 2.9), y),  # not exact
        scored("add add mul c0 r mul c1 r div c2 exp r", (1.0, 2.0, 2.0), y),
    ]
    short = shortened(front, problem(y), Grammar(), None, soon())
    assert texts(short) == ["mul c0 r", "add div c0 exp r mul c1 r"]
    assert short[-1].constants == (2.0, 3.0)
    assert short[-1].mse < 1e-28
    assert [s.complexity for s in short] == [3, 8]


def test_short_formulas_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algebra.subprocess, "Popen", None)  # calling it would fail
    front = [scored("add c0 mul c1 r", (0.0, 1.0), R)]
    assert shortened(front, problem(R), Grammar(), None, soon()) == front


def test_without_time_left_everything_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algebra.subprocess, "Popen", None)
    front = [scored("add add r r add r r", (), 4 * R)]
    assert shortened(front, problem(4 * R), Grammar(), None, time.monotonic() - 1) == front


def test_a_form_with_another_domain_replaces_nothing() -> None:
    """(r^2 - 4) / (r - 2) has no value at 2, sqrt(r - 1)^2 none below 1: r + 2 and r - 1 have."""
    r = np.array([0.5, 1.5, 2.0, 2.5])
    long, short = (
        from_prefix(["div", "sub", "square", "r", "4", "sub", "r", "2"]),
        from_prefix(["add", "r", "2"]),
    )
    assert not same_values((short, ()), (long, ()), {"r": r})
    rooted, plain = from_prefix(["square", "sqrt", "sub", "r", "1"]), from_prefix(["sub", "r", "1"])
    assert not same_values((plain, ()), (rooted, ()), {"r": r})
    assert same_values((plain, ()), (rooted, ()), {"r": r[1:]})


def test_denominators_and_logarithms_that_change_sign_are_seen() -> None:
    points = {"r": R}
    assert has_pole(from_prefix(["div", "1", "square", "sub", "r", "2"]), (), points)
    assert has_pole(from_prefix(["log", "cube", "sub", "r", "2"]), (), points)
    assert not has_pole(from_prefix(["inv", "add", "r", "2"]), (), points)


def test_values_are_compared_over_the_whole_domain() -> None:
    """Equal at the data's points, where the sine is 0, the formulas differ on the grid."""
    r = np.arange(1.0, 9.0)
    data, y = problem(r, r), r
    domain = Domain.of(data.x[0], data.y)
    points = algebra._points(algebra.Data.of(data, Grammar()), Grammar(), domain)
    wavy = (from_prefix(["add", "r", "mul", "c0", "sin", "mul", "c1", "r"]), (0.2, 2 * np.pi))
    assert np.allclose(evaluate_numpy(*wavy[:1], {"r": r}, wavy[1]), y)
    assert not same_values((from_prefix(["r"]), ()), wavy, points)


def test_what_the_user_forbids_or_requires_is_respected() -> None:
    y = R**4
    front = [scored("mul mul r r mul r r", (), y)]
    assert texts(shortened(front, problem(y), Grammar(), None, soon())) == ["square square r"]
    forbids = Grammar(forbidden=("square", "pow"))
    assert shortened(front, problem(y), forbids, None, soon()) == front
    requires = Grammar(required=("mul",))
    assert shortened(front, problem(y), requires, None, soon()) == front


SLOW = """
import json, sys, time
print('"ready"', flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if job["prefix"][0] == "exp":
        time.sleep(60)
    print(json.dumps([[["add", "r", "r"], []]]), flush=True)
"""


def test_a_formula_that_takes_too_long_is_cut_off_and_the_next_one_is_answered() -> None:
    fast, stuck = scored("add r r", (), R), scored("exp r", (), R)
    begin = time.monotonic()
    with Algebra(soon(20), seconds=0.3, command=(sys.executable, "-c", SLOW)) as helper:
        assert helper.forms(fast, PLAIN, thorough=False)
        first = helper.process
        assert helper.forms(stuck, PLAIN, thorough=False) == []
        assert helper.forms(fast, PLAIN, thorough=False)
        assert helper.process is not first
    assert time.monotonic() - begin < 8
    assert first is not None
    assert first.poll() is not None


def test_sympy_at_work_for_ever_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The expansion of (r + exp(r))^4096 never ends; the system stops the process, whatever it computes."""
    endless = scored(" ".join(["square"] * 12) + " add r exp r", (), R)
    monkeypatch.setattr(algebra, "_WAIT_FACTOR", 100.0)
    with Algebra(soon(240), seconds=0.5) as helper:
        assert helper.forms(endless, PLAIN, thorough=False) == []
        assert helper.forms(scored("mul r mul r mul r r", (), R), PLAIN, thorough=False)


def test_the_time_for_all_ends_the_process() -> None:
    with Algebra(time.monotonic() + 2.5, seconds=60.0, command=(sys.executable, "-c", SLOW)) as helper:
        begin = time.monotonic()
        assert helper.forms(scored("exp r", (), R), PLAIN, thorough=False) == []
        assert time.monotonic() - begin < 4.5


@pytest.mark.parametrize("command", [("/nowhere/python",), (sys.executable, "-c", "raise SystemExit(1)")])
def test_without_a_helper_formulas_stay_as_they_are(command: tuple[str, ...]) -> None:
    with Algebra(soon(), command=command) as helper:
        assert helper.forms(scored("add r r", (), R), PLAIN, thorough=False) == []
        assert helper.until == 0.0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")
def test_the_helper_ends_with_the_process_that_asked(tmp_path: Path) -> None:
    """Killed in the middle of a formula, the parent leaves nothing behind for longer than that formula's time."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import json, subprocess, sys\n"
        f"helper = subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "helper.stdout.readline()\n"
        "job = {'prefix': ['square'] * 12 + ['add', 'r', 'exp', 'r'], 'constants': [], 'seconds': 2.0,\n"
        f"       'operators': {list(PLAIN)!r}, 'thorough': False}}\n"
        "helper.stdin.write(json.dumps(job) + '\\n')\n"
        "helper.stdin.flush()\n"
        "print(helper.pid, flush=True)\n"
        "helper.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_search_ends_with_shorter_formulas_and_repeats() -> None:
    y = 2.0 * R**4 + 0.5 * np.cos(R)
    config = SearchConfig(generations=0, exhaustive_size=5, sparse_size=0)
    fronts = [Search(problem(y), Grammar(), config).run().front for _ in range(2)]
    assert texts(fronts[0]) == texts(fronts[1])
    without = Search(
        problem(y), Grammar(), SearchConfig(generations=0, exhaustive_size=5, sparse_size=0, algebra=False)
    )
    plain = without.run().front
    assert sum(s.complexity for s in fronts[0]) <= sum(s.complexity for s in plain)


def test_the_helper_is_found_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the working folder was imported')")
    helper = subprocess.run(
        COMMAND, cwd=tmp_path, input="", capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert helper.stdout == '"ready"\n'
