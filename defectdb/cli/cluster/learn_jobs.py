"""`defectdb learn` beyond one machine and one material: --executor, --resume, --all-materials, --plan, --dry-run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from defectdb.cli.display.terminal import emit, emit_json, say
from defectdb.errors import DefectDBError, UsageError

if TYPE_CHECKING:
    from defectdb.cli import Settings
    from defectdb.learn.cluster.folder_executor import FolderExecutor
    from defectdb.learn.cluster.plan import Planned
    from defectdb.learn.cluster.running import Submitted
    from defectdb.learn.config import LearnConfig
    from defectdb.learn.outcome import Learned, Progress

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--executor", type=click.Choice(["local", "slurm"]),
        help="Search in jobs: of this machine, or of SLURM where srun is (docs/cluster.md).",
    ),
    click.option(
        "--slurm", "slurm", multiple=True, metavar="KEY=VALUE",
        help="With --executor slurm: partition=short, time=60 (minutes), mem=4GB ...; repeatable.",
    ),
    click.option(
        "--tasks", "folder", type=click.Path(path_type=Path), metavar="DIR",
        help="With --executor: folder of the jobs' files, which all nodes see (default: beside the database).",
    ),
    click.option(
        "--resume", is_flag=False, flag_value="newest", metavar="[RUN]",
        help="Take up a run with --executor again whose process was ended; what was found is kept. With --network: "
        "keep the training's state in a file (--resume FILE, default: beside the database), and go on from it.",
    ),
    click.option("--all-materials", is_flag=True, help="A run for every material that has structures to learn from."),
    click.option(
        "--plan", type=click.Path(path_type=Path), metavar="FILE",
        help="Runs of a TOML file: materials, targets, options.",
    ),
    click.option("--dry-run", is_flag=True, help="Print the searches and an estimate of their time; learn nothing."),
)  # fmt: skip


def job_options(command: Command) -> Command:
    """The options of this module, given to the command under their names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def slurm_parameters(texts: Sequence[str]) -> dict[str, str]:
    """Parameters of sbatch by name. Raises UsageError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise UsageError(f"--slurm {text!r} is no KEY=VALUE; write e.g. --slurm partition=short")
        found[name.strip().replace("-", "_")] = value.strip()
    return found


def submitted_before(settings: Settings, options: dict[str, Any]) -> Submitted:
    """The run that --resume means. Raises UsageError."""
    from defectdb.learn.cluster.running import default_folder, resumed

    text = options["resume"]
    if text != "newest" and not text.isdigit():
        raise UsageError(f"--resume takes the number of a run, not {text!r}")
    folder = options["folder"] or default_folder(settings.database)
    return resumed(folder, None if text == "newest" else int(text))


def learn_one(
    settings: Settings,
    options: dict[str, Any],
    planned: Planned,
    progress: Progress,
    resumes: Submitted | None,
) -> Learned:
    """Learn one run, on an executor where one is asked for; a run that ends keeps no files."""
    from dataclasses import replace

    from defectdb.learn.cluster.running import Submitted, default_folder, forget, keep, learn_planned

    place = options["executor"] or (resumes.place if resumes else None)
    if place is None:
        return learn_planned(settings.database, planned, progress)
    folder = options["folder"] or default_folder(settings.database)
    slurm = slurm_parameters(options["slurm"]) or (resumes.slurm if resumes else {})
    with _executor(place, folder, planned.config, slurm) as executor:
        assert executor is not None
        watched = replace(
            progress, begun=lambda run_id: keep(folder, Submitted(run_id, planned, place, slurm))
        )
        run_id = resumes.run_id if resumes else None
        learned = learn_planned(settings.database, planned, watched, executor, run_id)
        forget(folder, learned.run_id)
        executor.forget()
    return learned


def _executor(
    place: str | None, folder: Path, config: LearnConfig, slurm: dict[str, str]
) -> AbstractContextManager[FolderExecutor | None]:
    if place is None:
        return nullcontext()
    from defectdb.learn.cluster.submitted import submitting_executor

    return submitting_executor(place, folder, config, slurm)  # type: ignore[arg-type]


def planned_runs(settings: Settings, options: dict[str, Any], planned: Planned) -> list[Planned]:
    """The runs that --plan or --all-materials ask for; else the one given."""
    from defectdb.db import open_database
    from defectdb.learn.cluster.plan import for_all_materials, read_plan

    if options["plan"] is None and not options["all_materials"]:
        return [planned]
    if options["all_materials"] and planned.config.material is not None:
        raise UsageError("--all-materials and --material exclude each other; leave out one of the two")
    with open_database(settings.database, read_only=True) as db:
        if options["plan"] is not None:
            return read_plan(db, options["plan"], planned.config)
        return for_all_materials(db, planned)


def show_estimate(settings: Settings, runs: Sequence[Planned], as_json: bool) -> None:
    """Print every search of these runs and how long it may take."""
    from defectdb.db import open_database
    from defectdb.learn.cluster.plan import estimate

    with open_database(settings.database, read_only=True) as db:
        frame = estimate(db, runs)
    emit(frame, "json" if as_json else "table")
    searches, most = int(frame["searches"].sum()), float(frame["seconds_most"].sum())
    usual = float(frame["seconds"].sum()) if frame["seconds"].null_count() == 0 else None
    text = "" if usual is None else f", {_hours(usual)} as searches stored here took"
    say(settings, f"{searches} searches: at most {_hours(most)} of processor time{text}")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def learn_all(settings: Settings, options: dict[str, Any], runs: Sequence[Planned]) -> None:
    """Learn several runs and print a row for each. Raises DefectDBError in the end where some failed."""
    import polars as pl

    from defectdb.learn.cluster.running import default_folder, learn_many
    from defectdb.learn.outcome import Progress

    def progress(run: Planned) -> Progress:
        def kernel(found: Any, done: int, total: int) -> None:
            if found is not None:
                say(settings, f"{run.name}: {found.task.name} ({done} of {total})")

        return Progress(kernel=kernel, note=lambda line: say(settings, f"{run.name}: {line}"))

    folder = options["folder"] or default_folder(settings.database)
    rows: list[dict[str, Any]] = []
    with _executor(
        options["executor"], folder, runs[0].config, slurm_parameters(options["slurm"])
    ) as executor:
        for run, found in learn_many(settings.database, runs, progress, executor):
            failed = isinstance(found, DefectDBError)
            row: dict[str, Any] = {
                "material": run.config.material, "target": run.config.target, "run_id": None, "model_id": None,
                "formulas": None, "seconds": None, "failed": str(found) if failed else None,
            }  # fmt: skip
            if not isinstance(found, DefectDBError):
                row |= {"run_id": found.run_id, "model_id": found.model_id, "formulas": len(found.formula_ids),
                        "seconds": round(found.seconds, 1)}  # fmt: skip
            rows.append(row)
        if executor is not None:
            executor.forget()
    if options["as_json"]:
        emit_json(rows)
    else:
        emit(pl.DataFrame(rows, infer_schema_length=None))
    failures = [row for row in rows if row["failed"]]
    if failures:
        names = ", ".join(f"{row['material']} {row['target']}" for row in failures)
        raise DefectDBError(f"{len(failures)} of {len(rows)} runs failed: {names}")
