"""Every benchmarks/bench_*.py to its tables on stdout: `python -m benchmarks [NAME ...]`."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path


def names() -> list[str]:
    """Names of the benchmarks: bench_ingest.py is ``ingest``."""
    return sorted(file.stem.removeprefix("bench_") for file in Path(__file__).parent.glob("bench_*.py"))


def main(chosen: list[str]) -> int:
    """Run the chosen benchmarks, or all; each prints its own table. 2 where a name is unknown."""
    known = names()
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        print(
            f"no benchmark named {', '.join(unknown)}; known: {', '.join(known) or 'none'}", file=sys.stderr
        )
        return 2
    for name in chosen or known:
        print(f"\n== {name}", flush=True)
        started = time.perf_counter()
        importlib.import_module(f"benchmarks.bench_{name}").main()
        print(f"-- {name}: {time.perf_counter() - started:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
