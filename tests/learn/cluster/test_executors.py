"""Searches on executors of every kind give what one process gives, row for row; what fails is tried again and named."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from support import fake_slurm

from defectdb import __version__
from defectdb.engine.search.outcome import Generation
from defectdb.errors import (
    InputDataError,
    SearchFailedError,
    SelectionError,
    UsageError,
    VersionMismatchError,
)
from defectdb.learn.cluster import folder_executor, worker
from defectdb.learn.cluster.folder_executor import FolderExecutor, Job
from defectdb.learn.cluster.submitted import submitting_executor
from defectdb.learn.cluster.task_files import (
    kernel_text,
    read_kernel,
    read_task,
    task_bytes,
    task_name,
    write_whole,
)
from defectdb.learn.config import LearnConfig
from defectdb.learn.pairs.executors import search_task
from defectdb.learn.pairs.kernel_search import learn_kernel
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask, LatticeTask, PairTask, TableTask
from defectdb.learn.pairs.workers import learn_kernels

QUICK = LearnConfig(
    generations=0, population=64, exhaustive_size=1, max_tokens=5, operators=("exp", "neg"), time_limit=3600.0
)
"""A search that no clock cuts off: those that are cut off do not repeat."""


def task(label: str, decay: float = 1.0) -> PairTask:
    r = np.array([2.5, 3.1, 4.4, 5.2, 6.3, 7.7])
    return PairTask(
        label=label, x=r[None], y=0.3 * np.exp(-decay * r), weight=np.ones(6), config=QUICK, hosts=("h",) * 6
    )


TASKS = [task("A_X-B_X"), replace(task("A_X-A_X", 0.5), islands=2)]
FEW = replace(TASKS[0], x=TASKS[0].x[:, :2], y=TASKS[0].y[:2], weight=np.ones(2), hosts=("h", "h"))
"""Too few distances: a constant at once."""


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEFECTDB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def alone(_cache: None) -> list[object]:
    """What one process finds."""
    return fronts(list(learn_kernels([replace(t, config=_one_worker()) for t in TASKS])))


def _one_worker() -> LearnConfig:
    return QUICK.model_copy(update={"workers": 1})


def fronts(kernels: Sequence[Kernel]) -> list[object]:
    """All that is stored of kernels but times."""
    found = [
        (k.task.name, k.chosen, k.n_fits, [(s.expression, s.constants, repr(s.mae_cv), s.mae) for s in k.front],
         [(g.generation, g.n_candidates, g.n_new, g.best_mse) for g in k.generations])
        for k in kernels
    ]  # fmt: skip
    return sorted(found, key=lambda row: row[0])


def test_a_pool_of_processes_gives_the_rows_of_one_process(alone: list[object]) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        heard: list[tuple[str, int]] = []
        kernels = list(
            learn_kernels(TASKS, None, lambda t, g: heard.append((t.name, g.generation)), executor=pool)
        )
    assert fronts(kernels) == alone
    assert len(heard) == sum(len(k.generations) for k in kernels)


def test_dask_gives_the_rows_of_one_process(alone: list[object]) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        kernels = list(learn_kernels(TASKS, executor=client.get_executor()))
    assert fronts(kernels) == alone


def test_jobs_on_a_pretended_slurm_give_the_rows_of_one_process(
    alone: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    bin_ = fake_slurm.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    heard: list[str] = []
    with submitting_executor(
        "slurm", tmp_path / "tasks", QUICK, {"partition": "short", "mem": "4GB"}
    ) as executor:
        kernels = list(learn_kernels(TASKS, None, lambda t, g: heard.append(t.name), executor=executor))
        executor.forget()
    assert fronts(kernels) == alone
    assert set(heard) == {t.name for t in TASKS}
    script = (bin_ / "script-100").read_text()
    assert "#SBATCH --array=0-" in script
    assert "#SBATCH --partition=short" in script
    assert "#SBATCH --mem=4GB" in script
    assert "#SBATCH --time=130" in script
    assert not (tmp_path / "tasks").exists()
    with pytest.raises(UsageError, match="--slurm colour"):
        submitting_executor("slurm", tmp_path / "tasks", QUICK, {"colour": "blue"})


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "one",
    [
        TASKS[0],
        replace(TASKS[1], seeds=(("exp", "neg", "r"),), island=1),
        LatticeTask(**{**TASKS[0].__dict__, "mixing": np.eye(6)}),
        TableTask(label="A_X-B_X", x=np.ones((1, 3)), y=np.ones(3), weight=np.ones(3), mixing=np.eye(3),
                  values=np.arange(3.0), frequency=np.ones(3), spare=0.1),
    ],
)  # fmt: skip
def test_a_task_comes_back_from_its_file_as_it_was(one: KernelTask, tmp_path: Path) -> None:
    write_whole(tmp_path / "task", task_bytes(one))
    back, version = read_task(tmp_path / "task")
    assert version == __version__
    assert type(back) is type(one)
    assert task_name(back) == task_name(one)
    assert back.seeds == one.seeds
    assert back.ends == one.ends
    assert np.array_equal(back.y, one.y)
    assert task_name(replace(one, y=one.y + 1e-12)) != task_name(one)
    assert task_name(replace(one, config=one.config.model_copy(update={"workers": 5}))) == task_name(one)


def test_a_kernel_comes_back_from_its_file_to_the_last_bit(tmp_path: Path) -> None:
    kernel = replace(
        learn_kernel(FEW), generations=[Generation(0, 0.1, 9, 8, 7, 6, 1e-5, 0.0, 0.0, ((3, 0.1 + 0.2),))]
    )
    back = read_kernel(kernel_text(kernel), TASKS[0])
    assert [repr(s) for s in back.front] == [repr(s) for s in kernel.front]
    assert back.generations == kernel.generations
    with pytest.raises((ValueError, KeyError)):
        read_kernel("{}", TASKS[0])


# ---------------------------------------------------------------- faults, with workers that are threads of this process


class Fake:
    """Workers that do what a test says: ``plan`` holds, for every submission of a task, what its job does."""

    def __init__(self, folder: Path, plan: dict[str, list[str]]) -> None:
        self.folder, self.plan, self.submitted = folder, plan, list[str]()
        self.calls = 0

    def __call__(self, names: Sequence[str]) -> dict[str, list[Job]]:
        self.calls += 1
        jobs: dict[str, list[Job]] = {}
        for name in names:
            self.submitted.append(name)
            steps = self.plan.get(name) or self.plan.get("*", [])
            step = steps.pop(0) if steps else "work"
            if step == "work":
                worker.work(str(self.folder), __version__, [name])
            elif step == "old":
                worker.work(str(self.folder), "0.0.1", [name])
            elif step == "killed":  # a claim that nobody holds
                (self.folder / "claims" / name).write_text("elsewhere 1")
            elif step == "nonsense":
                (self.folder / "results" / name).write_text('{"front": [')
            jobs[name] = [Ended(step)]
        return jobs


class Ended:
    def __init__(self, step: str) -> None:
        self.step = step

    def ended(self) -> str | None:
        return "job 7 ended (OUT_OF_MEMORY)" if self.step != "work" else "job 7 ended (COMPLETED)"

    def cancel(self) -> None:
        pass


@pytest.fixture
def quick_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find a constant at once."""

    def constant(one: KernelTask, report: object = None) -> Kernel:
        return replace(learn_kernel(FEW), task=one)

    monkeypatch.setattr(worker, "learn_kernel", constant)


def searched(
    folder: Path, fake: Fake, tasks: Sequence[KernelTask] = TASKS[:1]
) -> tuple[list[Kernel], list[str]]:
    notes: list[str] = []
    with FolderExecutor(folder, fake) as executor:
        return list(learn_kernels(tasks, executor=executor, note=notes.append)), notes


@pytest.mark.parametrize("fault", ["killed", "lost", "nonsense"])
def test_a_task_whose_job_is_lost_is_tried_again_and_named(
    fault: str, tmp_path: Path, quick_kernels: None
) -> None:
    fake = Fake(tmp_path, {"*": [fault, fault]})
    kernels, notes = searched(tmp_path, fake)
    assert len(kernels) == 1
    assert len(fake.submitted) == 3
    if fault != "nonsense":
        assert "A_X-B_X failed" in notes[0]
        assert "OUT_OF_MEMORY" in notes[0]
        assert "attempt 3 of 3" in notes[1]


def test_a_task_that_is_lost_three_times_ends_the_run_with_its_name(
    tmp_path: Path, quick_kernels: None
) -> None:
    with pytest.raises(SearchFailedError, match=r"A_X-B_X failed 3 times: job 7 ended \(OUT_OF_MEMORY\)"):
        searched(tmp_path, Fake(tmp_path, {"*": ["lost"] * 3}))


def test_a_worker_of_another_version_is_refused(tmp_path: Path, quick_kernels: None) -> None:
    with pytest.raises(VersionMismatchError, match=r"0\.0\.1 and the worker has"):
        searched(tmp_path, Fake(tmp_path, {"*": ["old"]}))
    with pytest.raises(VersionMismatchError):
        search_task("0.0.1", TASKS[0])


def test_the_error_of_a_search_is_that_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise SelectionError("no formula vanishes")

    monkeypatch.setattr(worker, "learn_kernel", refuses)
    with pytest.raises(SelectionError, match="no formula vanishes"):
        searched(tmp_path, Fake(tmp_path, {}))


def test_what_was_found_before_is_taken_and_what_others_search_is_waited_for(
    tmp_path: Path, quick_kernels: None
) -> None:
    searched(tmp_path, Fake(tmp_path, {}))
    again = Fake(tmp_path, {})
    kernels, _ = searched(tmp_path, again, TASKS)
    assert len(kernels) == 2
    assert task_name(TASKS[0]) not in again.submitted


def test_searches_handed_over_one_after_another_are_submitted_together(
    tmp_path: Path, quick_kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_executor, "TICK", 1.0)
    fake = Fake(tmp_path, {})
    with FolderExecutor(tmp_path, fake) as executor:
        futures = []
        for one in (TASKS[0], *(replace(TASKS[1], island=k) for k in range(2))):
            futures.append(executor.submit(search_task, __version__, one))
            time.sleep(0.4)
        assert [future.result(60).task.label for future in futures] == ["A_X-B_X", "A_X-A_X", "A_X-A_X"]
    assert fake.calls == 1


def test_the_failure_of_an_earlier_process_is_none_of_this_one(tmp_path: Path, quick_kernels: None) -> None:
    FolderExecutor(tmp_path, Fake(tmp_path, {}))
    write_whole(tmp_path / "tasks" / task_name(TASKS[0]), task_bytes(TASKS[0]))
    worker.work(str(tmp_path), "0.0.1", [task_name(TASKS[0])])
    assert (tmp_path / "failed" / task_name(TASKS[0])).exists()
    kernels, notes = searched(tmp_path, Fake(tmp_path, {}))
    assert (len(kernels), notes) == (1, [])


def test_a_folder_that_takes_no_file_is_an_error_that_names_the_file(
    tmp_path: Path, quick_kernels: None
) -> None:
    with FolderExecutor(tmp_path, Fake(tmp_path, {})) as executor:
        (tmp_path / "tasks").rmdir()
        (tmp_path / "tasks").write_text("no folder")
        with pytest.raises(InputDataError, match=r"tasks/.*cannot be written"):
            executor.submit(search_task, __version__, TASKS[0])


def test_what_a_killed_process_began_to_write_goes_with_its_task(tmp_path: Path, quick_kernels: None) -> None:
    with FolderExecutor(tmp_path / "tasks", Fake(tmp_path / "tasks", {})) as executor:
        (tmp_path / "tasks" / "results" / f".{task_name(TASKS[0])}.node7-12.tmp").write_text("{")
        assert len(list(learn_kernels(TASKS[:1], executor=executor))) == 1
        executor.forget()
    assert not (tmp_path / "tasks").exists()


def test_a_worker_that_begins_when_all_is_done_leaves_no_files(tmp_path: Path, quick_kernels: None) -> None:
    with FolderExecutor(tmp_path, Fake(tmp_path, {})):
        assert worker.work(str(tmp_path), __version__, [task_name(TASKS[0])]) == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Broken(Executor):
    def submit(self, *_: object, **__: object) -> Future[Kernel]:  # type: ignore[override]
        raise RuntimeError("no workers left")


def test_an_executor_that_takes_no_task_is_an_error_that_names_the_task() -> None:
    with pytest.raises(SearchFailedError, match="took no search of A_X-B_X: no workers left"):
        list(learn_kernels(TASKS[:1], executor=Broken()))


HOLDER = """
import sys, time
from defectdb.db.access.locks import hold
assert hold(sys.argv[1]) is not None
print("at work", flush=True)
time.sleep(600)
"""


def test_a_worker_that_is_killed_lets_go_of_its_task(tmp_path: Path, quick_kernels: None) -> None:
    claim = tmp_path / "claims" / task_name(TASKS[0])
    claim.parent.mkdir()
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(claim)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "at work\n"
    threading.Timer(1.0, other.kill).start()
    fake = Fake(tmp_path, {})
    kernels, notes = searched(tmp_path, fake)  # waits for the other one, then does its work
    other.communicate()
    assert len(kernels) == 1
    assert fake.submitted == [task_name(TASKS[0])]
    assert "A_X-B_X failed" in notes[0]
