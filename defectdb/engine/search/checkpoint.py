"""Save the state of a search to a file and restore it: a killed run goes on as if nothing had happened.

Everything that decides what comes next is kept as arrays: elites, keys of fitted skeletons, the network, its
optimiser, the random generator, the yields. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.search.inputs import SearchInputs
from defectdb.engine.search.outcome import Generation
from defectdb.engine.search.state import SearchState
from defectdb.errors import InputDataError, UsageError

_ARCHIVE = ("tokens", "complexity", "source", "born", "no_offset")
_FIT = ("theta", "beta", "sse")


def identity(inputs: SearchInputs) -> str:
    """SHA-256 of data, grammar, settings, domain and seeds: what must agree for a state to be gone on with.

    The number of generations and the time limit may differ. Of a predicate it says only whether there is one.
    """
    config = asdict(replace(inputs.config, generations=0, time_limit=1.0))
    kept = [field.name for field in fields(Generation)]
    digest = hashlib.sha256(json.dumps([config, kept], sort_keys=True).encode())
    filtered = inputs.accepts.predicate is not None
    for part in (inputs.grammar, inputs.problem, inputs.domain, inputs.seeds, filtered):
        for piece in _pieces(part):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    """The content of records, tensors and numbers as bytes."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield field.name.encode()
            yield from _pieces(getattr(value, field.name))
    elif isinstance(value, torch.Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().numpy().tobytes()
    else:
        yield repr(value).encode()


def save(state: SearchState, path: Path) -> None:
    """Write the state under another name first, then rename: a kill leaves the last whole one."""
    facts = {
        "identity": identity(state.inputs), "n_fits": state.n_fits, "idle": state.idle,
        "seeds_cut_off": state.seeds_cut_off,
        "history": [asdict(g) for g in state.generations],
    }  # fmt: skip
    arrays: dict[str, Any] = {name: value.detach().cpu().numpy() for name, value in _tensors(state).items()}
    draft = path.with_name(f"{path.name}.{os.getpid()}.npz")
    np.savez(draft, facts=np.array(json.dumps(facts)), **arrays)
    draft.replace(path)


def _tensors(state: SearchState) -> dict[str, torch.Tensor]:
    """Everything in a state that is a tensor, by name."""
    found = {
        "generator": state.generator.get_state(),
        "fitted_keys": state.fitted_keys,
        "yields": state.yields,
    }
    for kept, archive in (("archive", state.archive), ("rounded", state.rounded)):
        if archive is not None:
            found |= {f"{kept}.{name}": getattr(archive, name) for name in _ARCHIVE}
            found |= {f"{kept}.fit.{name}": getattr(archive.fit, name) for name in _FIT}
    model, optimizer = state.network
    found |= {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        found |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    return found


def restore(state: SearchState, path: Path) -> None:
    """Put a saved state into the fresh one of a search with the same inputs.

    What the search's own predicate refuses is dropped; what another one refused before is not tried again. A
    generation 0 that the clock cut off is to be done once more: only what was not fitted costs anything.
    Raises InputDataError for a file that is no such state, UsageError where data or settings differ.
    """
    facts, arrays = _read(path)
    if facts["identity"] != identity(state.inputs):
        raise UsageError(
            f"{path} is the state of another search (data or settings differ); delete it to start anew"
        )
    device = state.inputs.config.device
    state.n_fits, state.idle = facts["n_fits"], facts["idle"]
    again = facts.get("seeds_cut_off", False)
    state.generations = [] if again else [_generation(kept) for kept in facts["history"]]
    state.generator.set_state(arrays["generator"])
    state.fitted_keys, state.yields = arrays["fitted_keys"].to(device), arrays["yields"]
    state.archive = _accepted(_archive(arrays, "archive", device), state.inputs)
    state.rounded = _accepted(_archive(arrays, "rounded", device), state.inputs)
    model, optimizer = state.network
    model.load_state_dict(_part(arrays, "model."))
    moments = optimizer.state_dict()
    for name, value in _part(arrays, "adam.").items():
        index, moment = name.split(".", 1)
        moments["state"].setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict(moments)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The facts and tensors of a state file. Raises InputDataError for another file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files if name != "facts"}
        facts["identity"]
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as cause:
        raise InputDataError("not the state of a search; delete it to start anew", path=str(path)) from cause
    return facts, arrays


def _archive(arrays: dict[str, torch.Tensor], kept: str, device: str) -> Archive | None:
    if f"{kept}.fit.sse" not in arrays:
        return None
    fit = Fit(*(arrays[f"{kept}.fit.{name}"].to(device) for name in _FIT))
    return Archive(fit=fit, **{name: arrays[f"{kept}.{name}"].to(device) for name in _ARCHIVE})


def _accepted(archive: Archive | None, inputs: SearchInputs) -> Archive | None:
    """The formulas that the search may fit."""
    return None if archive is None else archive[inputs.accepts(archive.tokens).nonzero().squeeze(1)]


def _generation(kept: dict[str, Any]) -> Generation:
    """A generation's record from JSON, where tuples are lists."""
    return Generation(**{**kept, "reached": tuple((size, mse) for size, mse in kept["reached"])})


def _part(arrays: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
