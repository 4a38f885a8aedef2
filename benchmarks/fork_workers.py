"""Workers of jobs without the start of Python: a process that has everything loaded forks one for every job.

``sys.executable`` is replaced by a small script that hands jobs and algebra with their standard streams to this
process and ends when the forked one ends, however it ends. SLURM is pretended: its commands run scripts here.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import runpy
import signal
import socket
import stat
import sys
import time
from pathlib import Path

from benchmarks.fault_jobs import forked

CLOCKS = (-3600.0, 0.0, 3600.0)  # seconds by which the clocks of workers are wrong
JOB = "submitit.core._submit"
ALGEBRA = "defectdb.expressions.algebra"
FORKED = (JOB, ALGEBRA)
SCRIPT = """#!{python} -SE
import json, os, socket, sys
module = sys.argv.index("-m") + 1
if sys.argv[module] not in {forked!r}:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    socket.send_fds(line, [b"."], [0, 1, 2])
    line.sendall(json.dumps([sys.argv[module], sys.argv[module + 1:], dict(os.environ)]).encode())
    line.shutdown(socket.SHUT_WR)
    sys.exit(0 if line.recv(1) else 1)
"""


class Workers:
    """The process that forks workers.

    python   the script to use in place of Python
    path     $PATH with the pretended SLURM
    version  a file: while it is there workers say that they are defectdb 0.0.1
    """

    def __init__(self, base: Path) -> None:
        self.python, self.version = base / "python", base / "version"
        self._alive = base / "alive"
        self._alive.mkdir()
        fake = Path(__file__).resolve().parents[1] / "tests" / "support" / "fake_slurm.py"
        spec = importlib.util.spec_from_file_location("fake_slurm", fake)
        assert spec is not None
        assert spec.loader is not None
        slurm = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(slurm)
        self.path = f"{slurm.install(base / 'slurm')}{os.pathsep}{os.environ['PATH']}"
        address = str(base / "socket")
        self.python.write_text(SCRIPT.format(python=sys.executable, address=address, forked=FORKED))
        self.python.chmod(self.python.stat().st_mode | stat.S_IXUSR)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(address)
        self._server.listen(100)
        self._pid = forked(self._serve, base / "workers.log")
        self._server.close()

    def alive(self) -> list[int]:
        """Process ids of the workers at work."""
        found = []
        for file in self._alive.iterdir():
            try:
                os.kill(int(file.name), 0)
                found.append(int(file.name))
            except ProcessLookupError:
                file.unlink(missing_ok=True)
        return found

    def close(self) -> None:
        """End the process, and workers that are left."""
        for pid in (self._pid, *self.alive()):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _serve(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            line, _ = self._server.accept()
            pid = os.fork()
            if pid == 0:
                self._server.close()
                code = 1
                try:
                    code = self._work(line)
                except SystemExit as end:
                    code = int(end.code or 0)
                finally:
                    os._exit(code)
            line.close()

    def _work(self, line: socket.socket) -> int:
        """What a Python of its own would do; a job has a clock of its own."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _, streams, _, _ = socket.recv_fds(line, 1, 3)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        text = b""
        while part := line.recv(1 << 20):
            text += part
        module, arguments, environment = json.loads(text)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [module, *arguments]
        alive = self._alive / str(os.getpid())
        if module == JOB:
            alive.touch()
            right, wrong = time.time, CLOCKS[os.getpid() % len(CLOCKS)]
            time.time = lambda: right() + wrong
            if self.version.exists():
                executors = importlib.import_module("defectdb.learn.pairs.executors")
                executors.__version__ = "0.0.1"  # type: ignore[attr-defined]
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stdin = os.fdopen(0, closefd=False)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.stdout.flush()
        alive.unlink(missing_ok=True)
        line.sendall(b".")
        return 0
