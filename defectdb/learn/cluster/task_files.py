"""The files through which a search is handed to a worker and its kernel comes back: arrays and JSON, nothing to run.

A task is named by a hash of its rows and options: the same search has the same name in every run, so that what was
found is found again after a process was killed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from defectdb.engine.finishing.scored import Scored
from defectdb.engine.search.outcome import Generation
from defectdb.errors import InputDataError
from defectdb.expressions.expression import from_ast, to_ast
from defectdb.learn.config import LearnConfig
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask, LatticeTask, PairTask, TableTask, TripleTask
from defectdb.version import __version__

_KINDS: dict[str, type[KernelTask]] = {
    kind.__name__: kind for kind in (KernelTask, PairTask, LatticeTask, TableTask, TripleTask)
}
_FREE = {"workers": 0, "activate": True, "accuracy": None, "tokens": None, "warm": False}
"""Options that change nothing in a search, whose start formulas stand in its task."""


def task_bytes(task: KernelTask) -> bytes:
    """A task as an npz file: its arrays, and everything else as one JSON text."""
    arrays: dict[str, Any] = {}
    plain: dict[str, Any] = {"kind": type(task).__name__, "version": __version__}
    for field in fields(task):
        value = getattr(task, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif field.name == "config":
            plain["config"] = value.model_copy(update=_FREE).model_dump(mode="json")
        else:
            plain[field.name] = value
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, plain=np.array(json.dumps(plain, sort_keys=True)), **arrays)
    return packed.getvalue()


def task_name(task: KernelTask) -> str:
    """The name of a task's files: a hash of all that its result hangs on."""
    digest = hashlib.sha256()
    with np.load(io.BytesIO(task_bytes(task)), allow_pickle=False) as stored:
        for name in sorted(stored.files):
            digest.update(f"{name}{stored[name].dtype}{stored[name].shape}".encode())
            digest.update(stored[name].tobytes())
    return digest.hexdigest()[:32]


def read_task(path: Path) -> tuple[KernelTask, str]:
    """A task, and the version of defectdb that wrote it."""
    with np.load(path, allow_pickle=False) as stored:
        plain = json.loads(str(stored["plain"]))
        arrays = {name: stored[name] for name in stored.files if name != "plain"}
    version, kind = str(plain.pop("version")), _KINDS[plain.pop("kind")]
    config = LearnConfig.model_validate(plain.pop("config"))
    known = {name: _tuples(value) for name, value in plain.items()}
    return kind(**known, **arrays, config=config), version


def kernel_text(kernel: Kernel) -> str:
    """What a search found as JSON."""
    front = [
        {f.name: getattr(scored, f.name) for f in fields(scored)} | {"expression": to_ast(scored.expression)}
        for scored in kernel.front
    ]
    content = {
        "front": front,
        "chosen": kernel.chosen,
        "generations": [asdict(g) for g in kernel.generations],
        "seconds": kernel.seconds,
        "n_fits": kernel.n_fits,
    }
    return json.dumps(content)


def read_kernel(text: str, task: KernelTask) -> Kernel:
    """The kernel of a task. Raises ValueError, KeyError or TypeError for a text that is none."""
    content = json.loads(text)
    front = [Scored(**_scored(row)) for row in content["front"]]
    generations = [Generation(**{k: _tuples(v) for k, v in row.items()}) for row in content["generations"]]
    chosen = int(content["chosen"])
    if not 0 <= chosen < len(front):
        raise ValueError(f"no formula {chosen} among {len(front)}")
    return Kernel(task, front, chosen, generations, float(content["seconds"]), int(content["n_fits"]))


def generation_text(generation: Generation) -> str:
    """One generation as a line of JSON."""
    return json.dumps(asdict(generation)) + "\n"


def read_generation(line: str) -> Generation:
    """The generation of a line."""
    return Generation(**{name: _tuples(value) for name, value in json.loads(line).items()})


def _scored(row: dict[str, Any]) -> dict[str, Any]:
    known = {name: _tuples(value) for name, value in row.items()}
    return {**known, "expression": from_ast(row["expression"])}


def _tuples(value: Any) -> Any:
    """Lists as tuples, however deep."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all. Raises InputDataError where the disk does not take it."""
    draft = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as cause:
        raise InputDataError(f"cannot be written: {cause.strerror or cause}", path=str(path)) from cause
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def drafts(path: Path) -> list[Path]:
    """What processes left that were killed while they wrote this file."""
    return list(path.parent.glob(f".{path.name}.*.tmp"))
