"""CPU and GPU beside each other: the same numbers, and how many fits, generations and epochs a second.

Without a CUDA device its column stays empty. Under five minutes on two cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.bench_network import synthetic_graphs
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.grammar.decoding import random_formulas
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import build, count_constants
from defectdb.engine.safety.domain import Domain
from defectdb.engine.search.search import Search
from defectdb.engine.settings import SearchConfig
from defectdb.learn.network.batches import to_device
from defectdb.learn.network.config import Recipe, recipe_settings
from defectdb.learn.network.training import Lesson, new_state, train

AGREE = 1e-8
"""Largest difference between CPU and GPU, relative to one more than the value."""
STRUCTURES, EPOCHS, GENERATIONS = 2_000, 2, 3
X = torch.linspace(1.0, 12.0, 20, dtype=torch.float64)
Y = torch.exp(-0.4 * X) * torch.cos(1.7 * X)


def formulas(count: int = 4_000) -> tuple[torch.Tensor, Grammar]:
    """Distinct random formulas with constants."""
    grammar = Grammar(max_length=15, max_constants=4)
    tokens = torch.unique(
        random_formulas(grammar, 12_000, torch.Generator().manual_seed(0), leaf_bias=0.25), dim=0
    )
    return tokens[count_constants(tokens, grammar) > 0][:count], grammar


def candidate_values(tokens: torch.Tensor, grammar: Grammar, device: str) -> torch.Tensor:
    """Values of all formulas with given constants [formula, point], on the CPU."""
    found = []
    for k in range(1, 5):
        part = tokens[count_constants(tokens, grammar) == k]
        theta = torch.linspace(0.2, 1.7, len(part) * k, dtype=torch.float64).reshape(len(part), 1, k)
        values = build(part.to(device), grammar).values(X.to(device).unsqueeze(0), theta.to(device))
        found.append(values.cpu().reshape(-1, len(X)))
    return torch.cat(found)


def fits_per_second(tokens: torch.Tensor, grammar: Grammar, device: str) -> float:
    """Constants fitted from two starts."""
    problem = Problem.of(X.to(device), Y.to(device))

    def work() -> None:
        generator = torch.Generator(device).manual_seed(0)
        fit(tokens.to(device), grammar, problem, generator, starts=2, iterations=(6, 10))

    return len(tokens) / _seconds(work, device)


def generations_per_second(device: str) -> float:
    """Generations of 2,000 candidates after the exhaustive search."""
    config = SearchConfig(
        seed=0, generations=GENERATIONS, population=2_000, exhaustive_size=5, time_limit=60.0, device=device
    )
    stamps: list[float] = []
    search = Search(Problem.of(X, Y), Grammar(max_length=15), config, Domain.of(X, Y, cutoff=30.0),
                    lambda _: stamps.append(time.perf_counter()))  # fmt: skip
    search.run()
    return (len(stamps) - 1) / (stamps[-1] - stamps[0]) if len(stamps) > 1 else float("nan")


def epochs_per_second(recipe: Recipe, device: str) -> float:
    """Epochs of a network over structures of three defects."""
    architecture, schedule = recipe_settings(recipe, "formation_energy", EPOCHS)
    graphs = synthetic_graphs(STRUCTURES, 3)
    y = torch.linspace(-1, 1, STRUCTURES, device=device)
    lesson = Lesson(
        to_device(graphs, graphs.n_nodes * 0, device), y, (torch.arange(STRUCTURES).numpy(),), n_materials=1
    )
    state = new_state(architecture, schedule, 1, 0, device)
    train(lesson, schedule.model_copy(update={"epochs": 1}), state, 0, lambda _: None)  # warms up
    return (EPOCHS - 1) / _seconds(lambda: train(lesson, schedule, state, 0, lambda _: None), device)


def _seconds(work: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    """One row for every measure, one column for every device."""
    tokens, grammar = formulas()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    measures: dict[str, Callable[[str], float]] = {
        "fits/s": lambda device: fits_per_second(tokens, grammar, device),
        "generations/s": generations_per_second,
        f"epochs/s, fast, {STRUCTURES} structures": lambda device: epochs_per_second("fast", device),
        f"epochs/s, published, {STRUCTURES} structures": lambda device: epochs_per_second(
            "published", device
        ),
    }
    print(f"{'':45} {'cpu':>12} {'cuda':>12}   ({torch.get_num_threads()} threads)")
    for name, measure in measures.items():
        found = [f"{measure(device):12,.3g}" for device in devices]
        print(f"{name:45} {' '.join(found)}", flush=True)
    if len(devices) == 1:
        print("no CUDA device here: its column stays empty, and nothing is said of agreement")
        return
    here, there = (candidate_values(tokens, grammar, device) for device in devices)
    both = torch.isfinite(here) & torch.isfinite(there)
    worst = float(((here - there).abs() / (1 + here.abs()))[both].max())
    same = bool((torch.isfinite(here) == torch.isfinite(there)).all())
    verdict = "agree" if worst <= AGREE and same else "DISAGREE"
    print(f"{len(tokens)} candidates on both devices {verdict}: largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
