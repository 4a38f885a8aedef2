"""How long the tight-binding model takes to compute the demonstration's structures."""

from __future__ import annotations

import time

from defectdb.demo.dataset import compute


def main() -> None:
    """Print structures per second for two supercells."""
    print(f"{'supercell':>10} {'orbitals':>9} {'structures':>11} {'seconds':>8} {'per second':>11}")
    for cell in (6, 8):
        started = time.perf_counter()
        count = sum(len(structures.sites) for structures in compute(cell=cell, triples=40, seed=0))
        seconds = time.perf_counter() - started
        print(
            f"{f'{cell}x{cell}x1':>10} {2 * cell**2:>9} {count:>11} {seconds:>8.2f} {count / seconds:>11.0f}"
        )


if __name__ == "__main__":
    main()
