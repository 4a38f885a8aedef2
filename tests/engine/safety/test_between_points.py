"""Curves that the data points cannot tell from others are refused; laws that they can resolve pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defectdb.engine.safety.domain import Domain

# distances (angstrom) of an Mo site from the S sites of an 8x8x1 MoS2 cell: the last but two occurs twice
MIXED = [
    2.41693, 4.00246, 5.11838, 6.82305, 7.53207, 8.17987, 9.34165, 9.87140, 10.37414, 11.31278, 12.17929,
    12.98813, 12.98813 + 1e-9, 13.37421, 14.81830,
]  # fmt: skip
R = torch.tensor(MIXED, dtype=torch.float64)


def published(r: torch.Tensor) -> torch.Tensor:
    """Mo and S vacancies, energy per site less its limit (Lazarev & Ustyuzhanin): 2 eV deep for the pair."""
    return 2 * (math.cos(0.5) * torch.cos(8 - 2 * r) - 1) * r**2 * torch.exp(-r)


def damped(r: torch.Tensor) -> torch.Tensor:
    return -3 * torch.exp(-0.5 * r) * (1 + 0.8 * torch.cos(2 * r + 1))


def passes(curve, data=published, *, noise: float = 0.006) -> bool:
    wobble = noise * torch.cos(torch.arange(len(R)) * 2.3)
    domain = Domain.of(R, data(R) + wobble, cutoff=30.0)
    return bool(domain.holds(curve(domain.grid[0]).unsqueeze(0)))


def test_the_published_formula_is_resolved_by_the_lattice_distances():
    assert passes(published)


def test_a_damped_oscillation_is_resolved_by_the_lattice_distances():
    assert passes(damped, damped)


@pytest.mark.parametrize("size", [1e-4, 2e-3, 1e-2, 0.1])
@pytest.mark.parametrize("frequency", [12.0, 25.0, 40.0, 64.35])
def test_a_ripple_faster_than_the_points_is_refused_however_small_it_is(size, frequency):
    assert not passes(lambda r: published(r) + size * torch.sin(frequency * r))


def test_an_aliased_oscillation_through_every_point_is_refused():
    even = torch.linspace(2.0, 14.0, 13, dtype=torch.float64)
    slow, fast = torch.cos(even), torch.cos((2 * math.pi - 1) * (even - 2.0) - 2.0)
    assert torch.allclose(slow, fast)  # the points cannot tell one from the other
    domain = Domain.of(even, slow)
    grid = domain.grid[0]
    assert bool(domain.holds(torch.cos(grid).unsqueeze(0)))
    assert not bool(domain.holds(torch.cos((2 * math.pi - 1) * (grid - 2.0) - 2.0).unsqueeze(0)))


@pytest.mark.parametrize("centre", [4.6, 6.0, 8.8, 14.1])
def test_a_well_where_no_point_is_is_refused(centre):
    width = 0.2
    assert not passes(lambda r: published(r) - 0.35 * torch.exp(-(((r - centre) / width) ** 2)))


def test_a_steep_flank_lends_nothing_to_the_flat_interval_beside_it():
    x = torch.arange(8, dtype=torch.float64)
    values = torch.tensor([-2.0, -0.1, -0.12, -0.1, -0.11, -0.1, -0.1, -0.1], dtype=torch.float64)
    domain = Domain.of(x, values)
    grid = domain.grid[0]
    chords = torch.from_numpy(np.interp(grid.numpy(), x.numpy(), values.numpy()))
    well = torch.where((grid > 1) & (grid < 2), 0.2 * torch.sin(math.pi * grid), 0.0)
    assert bool(domain.resolution.holds(chords.unsqueeze(0)))
    assert not bool(domain.resolution.holds((chords + well).unsqueeze(0)))


@given(st.floats(0.2, 1.2), st.floats(0.0, 6.28), st.floats(0.02, 0.4))
def test_slow_oscillations_pass_wherever_their_phase_lies(frequency, phase, decay):
    def law(r: torch.Tensor) -> torch.Tensor:
        return torch.exp(-decay * (r - 2)) * torch.cos(frequency * r + phase)

    domain = Domain.of(R, law(R))
    assert bool(domain.resolution.holds(law(domain.grid[0, : domain.n_inside]).unsqueeze(0)))


def test_three_points_resolve_nothing_and_refuse_nothing():
    x = torch.tensor([2.0, 4.0, 9.0], dtype=torch.float64)
    assert Domain.of(x, x.neg()).resolution is None
