"""How long `defectdb serve` takes to answer on the real archive, or on the database that $DEFECTDB_BENCH names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.bench_ingest import REAL

TIMES = 3
REQUESTS = {
    "what the service offers": "info",
    "every property": "info/structures",
    "first page": "structures",
    "page 100": "structures?page_offset=1980",
    "first page, energies alone": "structures?"
    + urlencode({"response_fields": "_defectdb_formation_energy,_defectdb_predicted_formation_energy"}),
    "filter on the number of defects": "structures?" + urlencode({"filter": "_defectdb_n_defects = 2"}),
    "filter on elements, sorted by energy": "structures?"
    + urlencode({"filter": 'elements HAS "W"', "sort": "-_defectdb_formation_energy"}),
    "filter on a predicted energy": "structures?"
    + urlencode({"filter": "_defectdb_predicted_formation_energy < 3"}),
    "filter that nothing fulfils": "structures?" + urlencode({"filter": 'elements HAS "Og"'}),
    "filter with a mistake": "structures?" + urlencode({"filter": "elements HAS"}),
    "largest page": "structures?page_limit=1000",
}


def main() -> None:
    """Print one line per request."""
    with tempfile.TemporaryDirectory() as folder:
        database = os.environ.get("DEFECTDB_BENCH") or f"{folder}/real.duckdb"
        command = [sys.executable, "-m", "defectdb", "-q", "--db", database]
        if "DEFECTDB_BENCH" not in os.environ:
            if not REAL.exists():
                print(f"skipped: {REAL} is absent")
                return
            subprocess.run([*command, "ingest", str(REAL)], check=True, stdout=subprocess.DEVNULL)
        serving = [*command, "serve", "--port", "0", "--json", "--time-limit", "100"]
        with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")["address"]
            for name, path in REQUESTS.items():
                _measure(name, f"{address}/{path}", server.pid)
            server.send_signal(signal.SIGINT)


def _measure(name: str, url: str, pid: int) -> None:
    """Print the quickest of some answers to a request, and the processor time of the server for that one."""
    answers = []
    for _ in range(TIMES):
        began, work = time.perf_counter(), _processor_seconds(pid)
        status, body = _answer(url)
        answers.append((time.perf_counter() - began, _processor_seconds(pid) - work, status, len(body)))
    seconds, work, status, size = min(answers)
    print(f"{name:<40} {status} {seconds:8.3f} s {work:8.2f} cpu s {size / 1e3:10,.1f} kB")


def _answer(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def _processor_seconds(pid: int) -> float:
    """Processor time of another process; 0 where the system does not say."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
