"""An autoencoder that writes a grammar's formulas, pretrained and kept in the user's cache folder.

A conditional network reads with every formula its values at random points for random constants.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from defectdb.engine.grammar.decoding import grammar_masks, random_formulas
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.network.data_encoder import point_features
from defectdb.engine.network.segvae import SEGVAE
from defectdb.engine.network.training import step
from defectdb.engine.programs.compiling import build, count_constants
from defectdb.engine.settings import ModelConfig

STEPS = 150
_FORMULAS = 6000
_GROUP_FORMULAS = 32  # formulas whose values are taken at the same points
_POINTS = 24
_LEARNING_RATE = 4e-3
_SEED = 20230106


def cache_folder() -> Path:
    """Where pretrained networks are kept: $DEFECTDB_CACHE, else the platform's cache folder."""
    if folder := os.environ.get("DEFECTDB_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "defectdb"


def _file(grammar: Grammar, config: ModelConfig) -> Path:
    key = json.dumps([grammar.fingerprint(), asdict(config), STEPS, _FORMULAS, _LEARNING_RATE])
    return cache_folder() / f"segvae-{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"


def pretrained(
    grammar: Grammar, config: ModelConfig, device: str = "cpu"
) -> tuple[SEGVAE, torch.optim.Optimizer]:
    """A network pretrained on random formulas of the grammar, and its optimiser; from the cache where it is
    there.

    The weights are stored as plain arrays: nothing is unpickled. A cache that cannot be read or written is
    passed over. The caller's random numbers stay as they are.
    """
    file = _file(grammar, config)
    with torch.random.fork_rng(devices=[]):
        model = _fresh(grammar, config)
        if not _load(model, file):
            model = _fresh(grammar, config)
            _train(model, grammar)
            _save(model, file)
    model = model.to(device)
    return model, torch.optim.Adam(model.parameters(), lr=config.learning_rate)


def _fresh(grammar: Grammar, config: ModelConfig) -> SEGVAE:
    """A network with the first weights of a fixed seed, torch's global one."""
    torch.manual_seed(_SEED)
    return SEGVAE(grammar, config)


def _train(model: SEGVAE, grammar: Grammar) -> None:
    generator = torch.Generator().manual_seed(_SEED)
    parts = [random_formulas(grammar, _FORMULAS // 4, generator, leaf_bias=b) for b in (0.2, 0.3, 0.4, 0.5)]
    tokens = torch.unique(torch.cat(parts), dim=0)
    points, steps = None, STEPS
    if model.config.conditional:
        tokens, points = with_values(tokens, grammar, generator)
        steps = 2 * STEPS
    masks, _ = grammar_masks(tokens, grammar)
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    for _ in range(steps):
        rows = torch.randint(len(tokens), (128,), generator=generator)
        seen = None
        if points is not None:  # any number of them: problems have few or many
            seen = points[rows, : int(torch.randint(8, _POINTS + 1, (1,), generator=generator))]
        loss, _ = model.loss(tokens[rows], masks[rows], torch.ones(len(rows)), generator, seen)
        step(model, optimizer, loss)


def with_values(tokens: Tensor, grammar: Grammar, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Formulas that can be evaluated, [formula, position], and their random points [formula, point, feature].

    Constants are of sizes log-uniform in [0.05, 6], three in four positive; every variable's range begins in [0, 4]
    or surrounds zero and is 0.5 to 15 wide; the sign is random, for every formula gets a coefficient.
    """
    rows, points = [], []
    for group in (count_constants(tokens, grammar) == k for k in range(grammar.max_constants + 1)):
        for part in tokens[group].split(_GROUP_FORMULAS) if group.any() else ():
            x = _random_points(len(grammar.variables), generator)
            theta = _random_constants(len(part), int(count_constants(part, grammar)[0]), generator)
            programs = build(part, grammar)
            y = programs.values(x, theta)[programs.terms[:, 0], 0]
            spread = y.std(1, correction=0)
            fine = torch.isfinite(y).all(1) & (spread > 1e-9 * (1 + y.abs().amax(1))) & (spread < 1e9)
            if not fine.any():
                continue
            sign = torch.randint(2, (int(fine.sum()), 1), generator=generator) * 2 - 1
            rows.append(part[fine])
            points.append(point_features(x, sign * y[fine]))
    return torch.cat(rows), torch.cat(points)


def _random_constants(count: int, k: int, generator: torch.Generator) -> Tensor:
    """Constants [formula, 1, k]."""
    size, sign = torch.rand(2, count, 1, k, generator=generator, dtype=torch.float64)
    values: Tensor = 0.05 * 120.0**size * torch.where(sign < 0.75, 1.0, -1.0)
    return values


def _random_points(variables: int, generator: torch.Generator) -> Tensor:
    """Points of random ranges, [variable, point]."""
    chance = torch.rand(variables, 3, generator=generator, dtype=torch.float64)
    width = 0.5 * 30.0 ** chance[:, :1]
    low = torch.where(chance[:, 1:2] < 0.5, -width / 2, 4 * chance[:, 2:])
    return low + width * torch.rand(variables, _POINTS, generator=generator, dtype=torch.float64)


def _load(model: SEGVAE, file: Path) -> bool:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        model.load_state_dict(state)
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError, RuntimeError):
        return False
    return True


def _save(model: SEGVAE, file: Path) -> None:
    """Write under another name first: two processes may pretrain the same grammar at once."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.stem}-{os.getpid()}.npz")
        np.savez(draft, **{name: value.numpy() for name, value in model.state_dict().items()})
        draft.replace(file)
    except OSError:
        return
