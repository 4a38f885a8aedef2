"""Stop a worker process when its parent process dies."""

from __future__ import annotations

import os
import threading
import time


def end_with(parent: int) -> None:
    """Let this process end soon after process ``parent`` was killed, instead of searching on or waiting for nobody."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
