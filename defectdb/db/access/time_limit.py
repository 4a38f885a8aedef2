"""A bound on how long the queries of a block may take together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from defectdb.errors import TimeLimitError

_PAUSE = 0.05
"""Seconds between two attempts to stop: the first may fall between two queries."""


class Stoppable(Protocol):
    """An open database."""

    def stop(self) -> None:
        """End the query that runs in another thread."""


@contextmanager
def time_limit(db: Stoppable, seconds: float) -> Iterator[None]:
    """Stop the block's queries after ``seconds``, which then raise TimeLimitError."""
    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        late.set()
        db.stop()
        while not done.wait(_PAUSE):
            db.stop()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt as cause:
        if late.is_set():
            raise TimeLimitError(f"the query took longer than {seconds:g} seconds and was stopped") from cause
        raise
    finally:
        done.set()
        watcher.join()
