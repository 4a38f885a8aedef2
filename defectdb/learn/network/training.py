"""Train one network: the loop, its schedule, and a state that a killed training goes on from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defectdb.expressions.arrays import Integers
from defectdb.learn.network.batches import DeviceGraphs
from defectdb.learn.network.config import Architecture, Schedule
from defectdb.learn.network.model import Network
from defectdb.learn.network.weights import Arrays

_LARGEST_GRADIENT = 1.0
_WARM = 0.05  # share of all steps in which the rate of a cosine rises
_PLATEAU = (10, 0.5, 1e-3)  # epochs without gain, factor, smallest share of the first rate


@dataclass(frozen=True)
class Lesson:
    """What a network learns.

    Attributes:
        graphs: of all structures
        y: standardised target [structure]
        groups: structures of every host; where asked each group comes up as often as the largest
        n_materials: how many materials there are
    """

    graphs: DeviceGraphs
    y: Tensor
    groups: tuple[Integers, ...]
    n_materials: int


@dataclass
class State:
    """A training as it stands: what a checkpoint holds.

    Attributes:
        network, averaged: the network and the running mean of its weights
        optimiser: with its moments
        epoch: epochs done
        step: batches done
        best, waiting: smallest loss so far and epochs since, of the plateau schedule
        rate: the plateau schedule's present rate
        losses: mean loss of every epoch
    """

    network: Network
    averaged: Network
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    best: float = math.inf
    waiting: int = 0
    rate: float = 0.0
    losses: tuple[float, ...] = ()


def new_state(
    architecture: Architecture, schedule: Schedule, n_materials: int, seed: int, device: str
) -> State:
    """An untrained network of this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(architecture, n_materials)
        averaged = Network(architecture, n_materials)
    averaged.load_state_dict(network.state_dict())
    network.to(device)
    averaged.to(device).requires_grad_(requires_grad=False)
    kind = torch.optim.AdamW if schedule.decay else torch.optim.Adam
    optimiser = kind(network.parameters(), lr=schedule.rate, weight_decay=schedule.decay, fused=True)
    return State(network, averaged, optimiser, rate=schedule.rate)


def train(
    lesson: Lesson, schedule: Schedule, state: State, seed: int, after_epoch: Callable[[State], None]
) -> Network:
    """Train from ``state`` to the last epoch; the network that predicts. ``after_epoch`` sees every epoch's end."""
    n_batches = math.ceil(len(epoch_rows(lesson, schedule, seed, 0)) / schedule.batch)
    for epoch in range(state.epoch, schedule.epochs):
        rows = torch.as_tensor(epoch_rows(lesson, schedule, seed, epoch), device=lesson.y.device)
        total = lesson.y.new_zeros(())
        for chosen in rows.split(schedule.batch):
            _set_rate(state, schedule, n_batches)
            total += _step(lesson, schedule, state, chosen) * len(chosen)
        loss = float(total) / len(rows)  # the only wait for a device in an epoch
        state.epoch, state.losses = epoch + 1, (*state.losses, loss)
        if schedule.plateau:
            _watch(state, schedule, loss)
        after_epoch(state)
    return state.averaged if schedule.averaged else state.network


def epoch_rows(lesson: Lesson, schedule: Schedule, seed: int, epoch: int) -> Integers:
    """The structures of one epoch in its order: all, those of smaller hosts several times where asked."""
    draw = np.random.default_rng([seed % 2**63, epoch])
    most = max(len(group) for group in lesson.groups)
    parts = []
    for group in lesson.groups:
        times = most // len(group) if schedule.upsample else 1
        parts.append(np.tile(group, times))
        missing = most - times * len(group)
        if schedule.upsample and missing:
            parts.append(draw.permutation(group)[:missing])
    rows: Integers = draw.permutation(np.concatenate(parts))
    return rows


def _step(lesson: Lesson, schedule: Schedule, state: State, chosen: Tensor) -> Tensor:
    """One batch; its loss."""
    out, y = state.network(lesson.graphs.choose(chosen)), lesson.y[chosen]
    if schedule.huber:
        loss = torch.nn.functional.smooth_l1_loss(out, y, beta=schedule.huber)
    else:
        loss = torch.nn.functional.mse_loss(out, y)
    state.optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), _LARGEST_GRADIENT)
    state.optimiser.step()
    state.step += 1
    if schedule.averaged:
        share = min(schedule.averaged, (1 + state.step) / (10 + state.step))
        with torch.no_grad():
            means: list[Tensor] = list(state.averaged.parameters())
            newest: list[Tensor] = list(state.network.parameters())
            torch._foreach_lerp_(means, newest, 1 - share)
    return loss.detach()


def _set_rate(state: State, schedule: Schedule, n_batches: int) -> None:
    """The rate of the next step: the plateau's, or a cosine with a warm-up."""
    share = state.step / (schedule.epochs * n_batches)
    rate = state.rate
    if not schedule.plateau:
        rate = (
            schedule.rate * min(1.0, share / _WARM + 0.01) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
        )
    for group in state.optimiser.param_groups:
        group["lr"] = rate


def _watch(state: State, schedule: Schedule, loss: float) -> None:
    """Lower the rate where the training loss no longer falls."""
    patience, factor, least = _PLATEAU
    if loss < state.best * (1 - 1e-4):
        state.best, state.waiting = loss, 0
        return
    state.waiting += 1
    if state.waiting > patience:
        state.rate, state.waiting = max(state.rate * factor, schedule.rate * least), 0


def state_arrays(state: State) -> Arrays:
    """Everything that decides how the training goes on, as arrays."""
    arrays: Arrays = {"numbers": np.array([state.best, state.rate]), "losses": np.array(state.losses)}
    arrays["counts"] = np.array([state.epoch, state.step, state.waiting])
    for part, network in (("network", state.network), ("averaged", state.averaged)):
        arrays |= {f"{part}.{name}": x.detach().cpu().numpy() for name, x in network.state_dict().items()}
    for number, moments in state.optimiser.state_dict()["state"].items():
        arrays |= {f"moments.{number}.{name}": x.detach().cpu().numpy() for name, x in moments.items()}
    return arrays


def load_state(state: State, arrays: Arrays) -> None:
    """Bring a new state to what ``state_arrays`` kept. Raises KeyError, ValueError or RuntimeError for another's."""
    numbers, counts = arrays["numbers"], arrays["counts"]
    state.best, state.rate = float(numbers[0]), float(numbers[1])
    state.epoch, state.step, state.waiting = (int(x) for x in counts)
    state.losses = tuple(float(x) for x in arrays["losses"])
    for part, network in (("network", state.network), ("averaged", state.averaged)):
        network.load_state_dict(
            {name: torch.as_tensor(arrays[f"{part}.{name}"]) for name in network.state_dict()}
        )
    optimiser: dict[str, Any] = state.optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for key, array in arrays.items():
        if key.startswith("moments."):
            _, number, name = key.split(".")
            moments.setdefault(int(number), {})[name] = torch.as_tensor(array)
    state.optimiser.load_state_dict(optimiser | {"state": moments})
