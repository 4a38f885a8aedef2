"""What a search remembers: equal formulas once, at their simplest."""

from __future__ import annotations

import torch

from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit


def archive(errors: list[float], sizes: list[int]) -> Archive:
    n = len(errors)
    zeros = torch.zeros(n, dtype=torch.long)
    fit = Fit(torch.zeros(n, 0), torch.zeros(n, 1), torch.tensor(errors, dtype=torch.float64))
    return Archive(torch.arange(n).unsqueeze(1), fit, torch.tensor(sizes), zeros, zeros, zeros == 1)


def test_rounding_does_not_decide_which_of_equal_formulas_is_kept():
    kept = archive([0.5, 0.3, 0.3 * (1 - 1e-15), 0.3 * (1 + 1e-15)], [3, 5, 9, 7]).best(10, 20)
    assert kept.tokens[:, 0].tolist() == [0, 1]  # the simplest of the three that agree


def test_every_complexity_keeps_its_lowest_errors():
    kept = archive([0.9, 0.7, 0.8, 0.2, 0.1], [3, 3, 3, 5, 30]).best(2, 20)
    assert kept.tokens[:, 0].tolist() == [1, 2, 3]
