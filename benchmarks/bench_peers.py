"""The learner beside pyoperon and gplearn on the real kernels: errors at left-out distances, at equal length and time.

Peers are never dependencies: name the Python of an environment that has them in $DEFECTDB_PEERS (`make bench-learn`
makes one); without it they are left out.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from benchmarks.bench_kernels import DATA
from defectdb.db import open_database
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.finishing.simplify import renumbered, simplify
from defectdb.engine.finishing.sympy_process import Algebra, same_values
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Constant, Expression, Variable, complexity
from defectdb.expressions.texts import to_infix
from defectdb.ingest import Options, load
from defectdb.learn.config import LearnConfig
from defectdb.learn.job import settle
from defectdb.learn.pairs.kernel_search import learn_kernel
from defectdb.learn.pairs.kernel_task import KernelTask
from defectdb.learn.pairs.tasks import kernel_tasks
from defectdb.learn.select import select_pairs

Floats = NDArray[np.float64]
Formula = tuple[Expression, tuple[float, ...]]
Kind = Literal["left_out", "interior"]
KINDS: tuple[Kind, ...] = ("left_out", "interior")
LABELS = (
    "Se_S-Se_S", "Se_S-Vac_Mo", "Se_S-Vac_S", "Se_S-W_Mo", "Vac_Mo-Vac_S", "Vac_S-Vac_S", "Vac_S-W_Mo",
)  # fmt: skip
TARGETS = ("formation_energy", "homo_lumo_gap")
PEERS = ("operon", "gplearn")
SECONDS = 12.0
ALGEBRA_SECONDS = 10.0
"""Time for sympy to shorten one answer's formulas, as ours are shortened; beside the time of the search."""

_OPERON = """
import json, sys
import numpy as np
from pyoperon.sklearn import SymbolicRegressor
data = np.load(sys.argv[1])
model = SymbolicRegressor(
    allowed_symbols="add,sub,mul,div,constant,variable,sin,cos,exp,log,sqrt,square,tanh", objectives=["mse", "length"],
    max_length=25, max_time=int(float(sys.argv[2])), n_threads=1, random_state=0, population_size=1000, pool_size=1000,
    generations=10**6, max_evaluations=10**9, optimizer_iterations=10,
)
model.fit(data["x"][:, None], data["y"])
print(json.dumps([model.get_model_string(s["tree"], 12) for s in model.pareto_front_]))
"""
_GPLEARN = """
import json, sys, time
import numpy as np
from gplearn.genetic import SymbolicRegressor
data = np.load(sys.argv[1]); x, y = data["x"][:, None], data["y"]
end, best, generations = time.time() + float(sys.argv[2]), {}, 1
model = SymbolicRegressor(
    population_size=1000, generations=1, random_state=0, parsimony_coefficient=1e-5, warm_start=True, low_memory=True,
    const_range=(-10, 10), metric="mse",
    function_set=("add", "sub", "mul", "div", "sin", "cos", "log", "sqrt", "neg", "inv"),
)
def text(program):
    stack = []
    for node in reversed(program):
        if isinstance(node, int): stack.append("X1")
        elif hasattr(node, "arity"):
            inner = ", ".join(stack.pop() for _ in range(node.arity))
            stack.append(f"{node.name}(abs({inner}))" if node.name in ("log", "sqrt") else f"{node.name}({inner})")
        else: stack.append(repr(float(node)))
    return stack[0]
while time.time() < end:
    model.set_params(generations=generations); model.fit(x, y); generations += 1
    for program in model._programs[-1]:
        if program is not None and program.length_ <= 25:
            mse = float(np.mean((program.execute(x) - y) ** 2))
            if np.isfinite(mse) and mse < best.get(program.length_, (np.inf,))[0]:
                best[program.length_] = (mse, text(program.program))
print(json.dumps([t for _, t in best.values()]))
"""
_NAMES = (
    "add",
    "sub",
    "mul",
    "div",
    "neg",
    "inv",
    "sin",
    "cos",
    "exp",
    "log",
    "sqrt",
    "tanh",
    "square",
    "abs",
)
_SIGNS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}


def parsed(text: str) -> Formula:
    """A peer's infix text as an expression in r and its constants; nothing is evaluated.

    Raises ValueError for what no peer writes.
    """
    constants: list[float] = []
    tree = _node(ast.parse(text.replace("^", "**"), mode="eval").body, constants)
    return simplify(*renumbered(tree, constants))


def _node(node: ast.expr, constants: list[float]) -> Expression:  # noqa: PLR0911
    match node:
        case ast.Constant(value=float() | int() as value):
            constants.append(float(value))
            return Constant(len(constants) - 1)
        case ast.Name(id="X1"):
            return Variable("r")
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return _node(ast.Constant(-float(str(value))), constants)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Call("neg", (_node(operand, constants),))
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=2)):
            return Call("square", (_node(left, constants),))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SIGNS:
            return Call(_SIGNS[type(op)], (_node(left, constants), _node(right, constants)))
        case ast.Call(func=ast.Name(id=name), args=args) if name in _NAMES:
            return Call(name, tuple(_node(arg, constants) for arg in args))
    raise ValueError(f"unknown part of a peer's formula: {ast.dump(node)}")


def peer_formulas(peer: str, task: KernelTask, seconds: float) -> list[Formula] | None:
    """The peer's formulas of every length for one kernel, as short as algebra makes them, and the mean of the rows.

    The search runs so many seconds in the peer's own environment. None, and why on stderr, where it fails.
    """
    script = _OPERON if peer == "operon" else _GPLEARN
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        np.savez(file, x=task.r, y=task.y)
        command = [os.environ["DEFECTDB_PEERS"], "-W", "ignore", "-c", script, str(file), str(seconds)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        print(f"{peer} failed: {result.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return read(json.loads(result.stdout.splitlines()[-1]), task)


def read(texts: Sequence[str], task: KernelTask) -> list[Formula]:
    """A peer's texts as formulas, and the mean of the rows, which any program has."""
    found = _shortened([_without_abs(parsed(text), task.r) for text in texts], task.r)
    return [*found, (Constant(0), (float(task.y.mean()),))]


def _without_abs(formula: Formula, r: Floats) -> Formula:
    """Without the absolute values of what is positive in every row: gplearn's log and sqrt take them of everything."""

    def plain(node: Expression) -> Expression:
        if not isinstance(node, Call):
            return node
        args = tuple(plain(arg) for arg in node.args)
        if node.operator == "abs" and bool((evaluate_numpy(args[0], {"r": r}, formula[1]) > 0).all()):
            return args[0]
        return Call(node.operator, args)

    return simplify(*renumbered(plain(formula[0]), formula[1]))


def _shortened(formulas: Sequence[Formula], r: Floats) -> list[Formula]:
    """Every formula as short as sympy makes it without other values, at the rows or between them."""
    points = {"r": np.concatenate([r, (r + np.roll(r, 1)) / 2])}
    short = list(formulas)
    with Algebra(time.monotonic() + ALGEBRA_SECONDS) as algebra:
        for i, (tree, theta) in enumerate(formulas):
            asked = Scored(tree, theta, complexity(tree), *[np.nan] * 5, ())
            for form in algebra.forms(asked, _NAMES, thorough=False):
                if complexity(form[0]) < complexity(short[i][0]) and same_values(form, short[i], points):
                    short[i] = form
    return short


@dataclass(frozen=True)
class Score:
    """One formula on one kernel, eV: mean squared error on all rows, and mean errors at distances left out."""

    formula: Formula
    mse: float
    left_out: float
    interior: float


def _residual(formula: Expression, theta: Sequence[float] | Floats, task: KernelTask) -> Floats:
    with np.errstate(all="ignore"):
        values = evaluate_numpy(formula, {"r": task.r}, [float(v) for v in theta])
    return np.clip(np.nan_to_num(np.broadcast_to(values, task.y.shape) - task.y, nan=1e6), -1e6, 1e6)


def _refitted(formula: Formula, task: KernelTask, rows: NDArray[np.bool_]) -> Floats:
    """Constants of least squares on some rows, from where they are."""
    tree, constants = formula
    start = np.array(constants, dtype=np.float64)
    if not len(start):
        return start
    found = least_squares(
        lambda theta: _residual(tree, theta, task)[rows], start, x_scale=np.abs(start) + 1e-6, max_nfev=200,
        xtol=1e-12, ftol=1e-12, gtol=1e-12,
    )  # fmt: skip
    return np.asarray(found.x, dtype=np.float64)


def scored(formula: Formula, task: KernelTask) -> Score:
    """One formula with its constants refitted, to all rows and without every distance in turn."""
    tree, constants = formula
    everything = np.ones(len(task.y), dtype=bool)
    theta = _refitted(formula, task, everything)
    before, after = (float(np.mean(_residual(tree, t, task) ** 2)) for t in (constants, theta))
    theta = theta if after < before else np.array(constants)
    near = task.r.round(4)
    errors = np.empty(len(task.y))
    for r in np.unique(near):
        out = near == r
        errors[out] = np.abs(_residual(tree, _refitted((tree, tuple(theta)), task, ~out), task)[out])
    inside = (near > near.min()) & (near < near.max())
    return Score((tree, tuple(theta)), min(before, after), float(errors.mean()), float(errors[inside].mean()))


def best_score(formulas: Sequence[Formula], task: KernelTask, length: int) -> Score:
    """The formula of lowest error on all rows of no more than so many tokens."""
    everything = np.ones(len(task.y), dtype=bool)
    short = [(tree, theta) for tree, theta in formulas if complexity(tree) <= length]
    fits = [(tree, tuple(_refitted((tree, theta), task, everything))) for tree, theta in short]
    return scored(min(fits, key=lambda f: float(np.mean(_residual(f[0], f[1], task) ** 2))), task)


def _least_left_out(front: Sequence[Scored]) -> Scored:
    """The simplest of our formulas whose left-out error at inner distances is within 5 % of the least."""
    least = min(s.mae_cv_interior for s in front)
    return next(s for s in front if s.mae_cv_interior <= 1.05 * least)


def chosen_score(
    formulas: Sequence[Formula], task: KernelTask, length: int, tolerance: float = 0.05
) -> Score:
    """The formula that our rule would choose: the simplest within 5 % of the least error at inner distances left out.

    Only those of no more than so many tokens, with fewer constants than distances that are left.
    """
    room = len(np.unique(task.r.round(4))) - 1
    short = [f for f in formulas if complexity(f[0]) <= length and len(f[1]) < room]
    scores = [scored(f, task) for f in sorted(short, key=lambda f: complexity(f[0]))]
    bound = (1 + tolerance) * min(s.interior for s in scores)
    return next(s for s in scores if s.interior <= bound)


def _tasks(folder: Path) -> Iterator[tuple[str, str, list[KernelTask]]]:
    """(label, target, its kernels) of the real archive."""
    with open_database(folder / "d.duckdb", create=True) as db:
        load(db, [DATA / "2dmd-train.zip"], options=Options(only=("2dmd-low-MoS2",)))
        for target in TARGETS:
            config = LearnConfig(target=target)
            job = settle(db, config, list(LABELS))
            tasks = kernel_tasks(db, select_pairs(db, job), job)
            for label in LABELS:
                yield label, target, [task for task in tasks if task.label == label]


@dataclass(frozen=True)
class Measured:
    """Scores on one kernel by program, peers by their training error and as our rule would choose."""

    task: KernelTask
    length: int
    nearest: dict[str, Score]
    chosen: dict[str, Score]


def _measured(task: KernelTask, seconds: float) -> Measured:
    """Scores for one kernel at the length that ours chooses; peers that fail are left out."""
    config = task.config.model_copy(update={"time_limit": seconds})
    kernel = learn_kernel(replace(task, config=config))
    ours = _least_left_out(kernel.front)
    own = scored((ours.expression, ours.constants), task)
    nearest, chosen = {"ours": own}, {"ours": own}
    for peer in PEERS if os.environ.get("DEFECTDB_PEERS") else ():
        formulas = peer_formulas(peer, task, seconds)
        if formulas is not None:
            nearest[peer] = best_score(formulas, task, ours.complexity)
            chosen[peer] = chosen_score(formulas, task, ours.complexity)
    return Measured(task, ours.complexity, nearest, chosen)


def _means(scores: Sequence[dict[str, Score]], tasks: Sequence[KernelTask], kind: Kind) -> dict[str, float]:
    """Mean errors in meV over a label's kernels, rows weighing alike, of the programs that answered for all of them."""
    rows = [len(task.y) for task in tasks]
    programs = [who for who in scores[0] if all(who in s for s in scores)]
    return {
        who: 1000 * float(np.average([getattr(s[who], kind) for s in scores], weights=rows))
        for who in programs
    }


def _show(label: str, target: str, found: Sequence[Measured]) -> dict[str, bool]:
    """Print one label and target; whether ours is lowest, by kind of comparison, where both peers answered."""
    tasks, won = [one.task for one in found], {}
    for name in ("nearest", "chosen"):
        means = {kind: _means([getattr(one, name) for one in found], tasks, kind) for kind in KINDS}
        cells = "  ".join(f"{w} {m:8.2f} / {means['interior'][w]:7.2f}" for w, m in means["left_out"].items())
        winner = min(means["left_out"], key=lambda who, m=means: m["left_out"][who])
        lengths = "+".join(str(one.length) for one in found)
        rows = sum(len(task.y) for task in tasks)
        print(
            f"{label:>14} {target:>16} {rows:>3} rows @{lengths:<6} {name:>7} meV: {cells}  {winner}",
            flush=True,
        )
        if set(means["left_out"]) == {"ours", *PEERS}:
            won |= {f"{name}, {k}": min(m, key=lambda who, m=m: m[who]) == "ours" for k, m in means.items()}
    for one in found:
        for who, score in one.nearest.items():
            print(f"{'':>16}{one.task.name} {who} mse {score.mse:.1e}: {to_infix(*score.formula, 4)}")
    return won


def main(seconds: float = SECONDS) -> None:
    """Two lines for every label and target, then how often ours is lower than both peers."""
    if not (DATA / "2dmd-train.zip").exists():
        print(f"skipped: the shared data are absent ({DATA})")
        return
    if not os.environ.get("DEFECTDB_PEERS"):
        print("peers are left out ($DEFECTDB_PEERS names no Python with pyoperon and gplearn)")
    won: dict[str, list[bool]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for label, target, tasks in _tasks(Path(folder)):
            for kind, lowest in _show(label, target, [_measured(task, seconds) for task in tasks]).items():
                won.setdefault(kind, []).append(lowest)
    for kind, lowest_of in won.items():
        print(f"lower than both peers on {sum(lowest_of)} of {len(lowest_of)}: {kind}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
