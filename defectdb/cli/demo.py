"""`defectdb demo`: compute a small data set with a model, then load, learn, predict and compare."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from defectdb.cli import Settings
from defectdb.cli.display.terminal import emit, emit_json, say
from defectdb.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from defectdb.db import Database
    from defectdb.learn import Learned

DATABASE = "demo.duckdb"
PLOTTED = "Vac_B-Vac_N"
COMPARED = """
    SELECT
        e.descriptor AS composition, count(*) AS structures,
        1000 * avg(abs(e.error)) AS mae_meV, 1000 * max(abs(e.error)) AS worst_meV,
        1000 * avg(abs(t.value - o.alone / e.n_defects)) AS without_pairs_meV
    FROM prediction_errors AS e
    JOIN targets AS t USING (structure_id, target)
    JOIN (
        SELECT d.structure_id, sum(s.value) AS alone
        FROM defects AS d
        JOIN (
            SELECT d.label, avg(t.value) AS value
            FROM structures AS s
            JOIN defects AS d USING (structure_id)
            JOIN targets AS t USING (structure_id)
            WHERE s.n_defects = 1 AND t.target = 'formation_energy'
            GROUP BY d.label
        ) AS s USING (label)
        GROUP BY d.structure_id
    ) AS o USING (structure_id)
    WHERE e.target = 'formation_energy_per_site' AND e.n_defects = 3
    GROUP BY ROLLUP (e.descriptor)
    ORDER BY composition NULLS LAST
"""
"""Errors per site of three-defect structures, with the learned pairs and with one-defect energies alone."""

EXAMPLES = """
    SELECT structure_id, actual AS computed_eV, predicted AS predicted_eV, 1000 * error AS error_meV
    FROM prediction_errors
    WHERE target = 'formation_energy_per_site' AND n_defects = 3
    QUALIFY row_number() OVER (PARTITION BY descriptor ORDER BY structure_id) = 1
    ORDER BY structure_id
"""


@click.command("demo")
@click.argument("directory", default="defectdb-demo", metavar="[DIR]", type=click.Path(path_type=Path))
@click.option(
    "--cell", type=click.IntRange(4, 12), default=8, show_default=True, help="Unit cells along each axis."
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the sampled structures and the search."
)
@click.option("--generations", type=click.IntRange(min=0), default=2, show_default=True,
              help="Generations of the search; more find better formulas.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@click.pass_obj
def demo_command(
    settings: Settings, *, directory: Path, cell: int, seed: int, generations: int, as_json: bool
) -> None:
    """Run the whole path on a data set that is computed on the spot, in about a minute.

    The data are point defects in h-BN from a tight-binding model, not DFT. Pair formulas are learned from
    structures with one and two defects and compared with the computed energies of those with three.
    DIR (default defectdb-demo) gets the archive, the database and a plot; running again adds new versions.

    \b
    Examples:
      defectdb demo
      defectdb demo somewhere --cell 6
    """
    # matrices this small lose a factor of ten to BLAS threads; the learner fills the cores with processes
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from defectdb.cli.display.learned import chosen_table, stored_front
    from defectdb.cli.display.model_front import FRONT_NOTE, model_front_table
    from defectdb.db import open_database

    begin = time.monotonic()
    archive = _archive(settings, directory, cell, seed)
    database = directory / DATABASE
    with open_database(database, create=True) as db:
        _ingest(settings, db, archive)
        learned = _learn(settings, db, seed, generations)
        compared, examples = db.frame(COMPARED), db.frame(EXAMPLES)
        figure = _plot(settings, db, directory)
    seconds = time.monotonic() - begin
    if as_json:
        emit_json(_summary(compared, learned, database, figure, seconds))
        return
    say(
        settings,
        "\nStructures with three defects, formation energy per site: predicted from pairs, and computed",
    )
    emit(examples, floats="{:.4f}")
    say(
        settings,
        "Mean absolute errors by composition (B: Vac_B, N: Vac_N, C: C_B); last column: pairs ignored",
    )
    emit(_named(compared), floats="{:.2f}")
    say(settings, FRONT_NOTE)
    emit(model_front_table(stored_front(learned)), floats="{:.3f}")
    say(settings, "Kernels in use")
    emit(chosen_table(learned).select("kernel", "tokens", "law", "formula"))
    _next_steps(settings, database, seconds)


def _archive(settings: Settings, directory: Path, cell: int, seed: int) -> Path:
    """The computed archive; the same bytes every time, so that loading it again changes nothing."""
    from defectdb.demo.archive import write_archive

    try:
        directory.mkdir(parents=True, exist_ok=True)
        say(
            settings,
            f"computing defects in a {cell}x{cell}x1 supercell of h-BN (tight-binding model, not DFT)",
        )
        report = write_archive(directory / f"hbn-tight-binding-model-{cell}x{cell}.zip", cell=cell, seed=seed)
    except OSError as cause:
        raise UsageError(f"cannot write the demonstration to {directory}: {cause.strerror}") from cause
    counts = ", ".join(f"{count} with {n}" for n, count in report.counts.items())
    say(settings, f"{report.path}: {report.n_structures} structures ({counts} defects)")
    return report.path


def _ingest(settings: Settings, db: Database, archive: Path) -> None:
    from defectdb.ingest import load

    [report] = load(db, [archive])
    what = f"{report.loaded} structures loaded" if report.loaded else "loaded before, nothing changed"
    say(settings, f"dataset {report.dataset_id}: {what}")


def _learn(settings: Settings, db: Database, seed: int, generations: int) -> Learned:
    """Learn every pair label from one- and two-defect structures."""
    from defectdb.demo.archive import BASE
    from defectdb.expressions.texts import to_infix
    from defectdb.learn import LearnConfig, Progress, learn_pairs

    def narrate(kernel: Any, done: int, total: int) -> None:
        if kernel is None:
            say(settings, f"learning {total} pair formulas V(r) by symbolic regression")
        else:
            best = kernel.front[kernel.chosen]
            formula = to_infix(best.expression, best.constants, 4)
            say(
                settings,
                f"  [{done}/{total}] {kernel.task.label:12} V(r) = {formula}   ({1000 * best.mae:.2f} meV)",
            )

    config = LearnConfig(material=BASE, seed=seed, generations=generations, exhaustive_size=7, time_limit=60)
    learned = learn_pairs(db, config, progress=Progress(kernel=narrate))
    say(settings, f"model {learned.model_id} is active ({learned.seconds:.0f} s)")
    return learned


def _plot(settings: Settings, db: Database, directory: Path) -> Path | None:
    """A figure of one kernel with the energies it was learned from; None without matplotlib."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        say(settings, "no figure: that needs matplotlib (pip install 'defectdb[plots]')")
        return None
    from defectdb.query.figures.draw import draw

    figure = directory / f"kernel-{PLOTTED}.png"
    draw(db, "kernel", figure, label=PLOTTED, target="formation_energy")
    say(settings, f"kernel of {PLOTTED} drawn in {figure}")
    return figure


def _named(compared: pl.DataFrame) -> pl.DataFrame:
    """The rollup's last row, without a composition, is that of all structures."""
    return compared.with_columns(compared["composition"].fill_null("all"))


def _summary(
    compared: pl.DataFrame, learned: Learned, database: Path, figure: Path | None, seconds: float
) -> dict[str, Any]:
    from defectdb.expressions.families import law_of

    rows = _named(compared).to_dicts()
    return {
        "database": str(database),
        "figure": str(figure) if figure else None,
        "mae_meV_per_site": rows[-1]["mae_meV"],
        "without_pairs_meV_per_site": rows[-1]["without_pairs_meV"],
        "by_composition": rows[:-1],
        "tokens": sum(kernel.best.complexity for kernel in learned.kernels),
        "laws": {k.task.name: law_of(k.best.expression, k.best.constants) for k in learned.kernels},
        "seconds": seconds,
    }


def _next_steps(settings: Settings, database: Path, seconds: float) -> None:
    say(settings, f"done in {seconds:.0f} s; everything is in {database}. Try next:")
    program = "defectdb" if shutil.which("defectdb") else sys.argv[0]
    for command in (
        f"formulas {PLOTTED} --front",
        "learn --all-pairs --target homo_lumo_gap",
        "evaluate --by descriptor",
        'sql "SELECT * FROM predictions LIMIT 5"',
    ):
        say(settings, f"  {program} --db {database} {command}")
    say(settings, f"and with real calculations: {program} ingest ARCHIVE.zip")
