"""Ctrl-C while DuckDB works: a thread stops the query, where Python itself would wait for its end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT stop running queries at once while the block runs; only the main thread can ask for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(read,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write)  # ends the watcher
        watcher.join()


def _watch(read: int) -> None:
    """Stop queries for every SIGINT whose number comes through the pipe."""
    while numbers := os.read(read, 1):
        opened = sys.modules.get("defectdb.db.connection")  # without it there is nothing to stop
        if numbers[0] == signal.SIGINT and opened is not None:
            opened.stop_queries()
    os.close(read)
