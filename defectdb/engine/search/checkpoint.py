"""A search's state to a file and back: a killed run goes on as if nothing had happened.

Everything that decides what comes next is kept as plain arrays: elites, fitted skeletons' hashes, the
network, its optimiser, the random generator, the yields. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch

from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.search.outcome import Generation
from defectdb.errors import InputDataError, UsageError

if TYPE_CHECKING:
    from defectdb.engine.search.search import Search

_ARCHIVE = ("tokens", "complexity", "source", "born", "plain")
_FIT = ("theta", "beta", "sse")


def identity(search: Search) -> str:
    """SHA-256 of data, grammar, settings, domain and seeds: what must agree for a state to be gone on with.

    The number of generations and the time limit may differ. Of a predicate it says only whether there is one.
    """
    config = asdict(replace(search.config, generations=0, time_limit=1.0))
    kept = [field.name for field in fields(Generation)]
    digest = hashlib.sha256(json.dumps([config, kept], sort_keys=True).encode())
    filtered = search.accepts.predicate is not None
    for part in (search.grammar, search.problem, search.domain, search.seeds, filtered):
        for piece in _pieces(part):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    """The content of records, tensors and plain values as bytes."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield field.name.encode()
            yield from _pieces(getattr(value, field.name))
    elif isinstance(value, torch.Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().numpy().tobytes()
    else:
        yield repr(value).encode()


def save(search: Search, path: Path) -> None:
    """Write the state under another name first, then rename: a kill leaves the last whole one."""
    state: dict[str, Any] = {
        "generator": search.generator.get_state(),
        "seen": search.seen,
        "yields": search.yields,
    }
    for kept, archive in (("archive", search.archive), ("literal", search.literal)):
        if archive is not None:
            state |= {f"{kept}.{name}": getattr(archive, name) for name in _ARCHIVE}
            state |= {f"{kept}.fit.{name}": getattr(archive.fit, name) for name in _FIT}
    model, optimizer = search.network
    state |= {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, kept in optimizer.state_dict()["state"].items():
        state |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in kept.items()}
    facts = {
        "identity": identity(search), "n_fits": search.n_fits, "idle": search.idle,
        "history": [asdict(g) for g in search.history],
    }  # fmt: skip
    arrays = {name: value.detach().cpu().numpy() for name, value in state.items()}
    draft = path.with_name(f"{path.name}.{os.getpid()}.npz")
    np.savez(draft, facts=np.array(json.dumps(facts)), **arrays)
    draft.replace(path)


def restore(search: Search, path: Path) -> None:
    """Put a saved state into a fresh search of the same problem.

    What the search's own predicate refuses is dropped; what another one refused before is not tried again.
    Raises InputDataError for a file that is no such state, UsageError where data or settings differ.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files if name != "facts"}
        known = facts["identity"]
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as cause:
        raise InputDataError("not the state of a search; delete it to start anew", path=str(path)) from cause
    if known != identity(search):
        raise UsageError(
            f"{path} is the state of another search (data or settings differ); delete it to start anew"
        )
    device = search.config.device
    search.n_fits, search.idle = facts["n_fits"], facts["idle"]
    search.history = [_generation(kept) for kept in facts["history"]]
    search.generator.set_state(arrays["generator"])
    search.seen, search.yields = arrays["seen"].to(device), arrays["yields"]
    search.archive = _accepted(_archive(arrays, "archive", device), search)
    search.literal = _accepted(_archive(arrays, "literal", device), search)
    model, optimizer = search.network
    model.load_state_dict(_part(arrays, "model."))
    moments = optimizer.state_dict()
    for name, value in _part(arrays, "adam.").items():
        index, moment = name.split(".", 1)
        moments["state"].setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict(moments)


def _archive(arrays: dict[str, torch.Tensor], kept: str, device: str) -> Archive | None:
    if f"{kept}.fit.sse" not in arrays:
        return None
    fit = Fit(*(arrays[f"{kept}.fit.{name}"].to(device) for name in _FIT))
    return Archive(fit=fit, **{name: arrays[f"{kept}.{name}"].to(device) for name in _ARCHIVE})


def _accepted(archive: Archive | None, search: Search) -> Archive | None:
    """The formulas that the search wants."""
    return None if archive is None else archive[search.accepts(archive.tokens).nonzero().squeeze(1)]


def _generation(kept: dict[str, Any]) -> Generation:
    """A generation's record from JSON, where tuples are lists."""
    return Generation(**{**kept, "reached": tuple((size, mse) for size, mse in kept["reached"])})


def _part(arrays: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
