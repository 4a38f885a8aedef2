"""The server process: a port, and requests answered until Ctrl-C."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from defectdb.errors import UsageError

_GRACE = 5
"""Seconds that requests in progress have when the server ends."""


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to the address; port 0 takes any free one. Raises UsageError where it cannot be had."""
    bound: socket.socket | None = None
    try:
        [family, kind, protocol, _, address] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()  # who connects from now on is answered once the server runs
    except (OSError, OverflowError, UnicodeError) as cause:
        if bound is not None:
            bound.close()
        why = getattr(cause, "strerror", None) or cause
        raise UsageError(f"{host}, port {port} cannot be used: {why}; --port 0 takes any free one") from cause
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: FastAPI, bound: socket.socket, log: Callable[[str], None] | None = None) -> None:
    """Answer requests until the process is interrupted; ``log`` gets a line for each that fails in the server."""
    if log is not None:
        logging.getLogger("uvicorn.error").addHandler(_Lines(log))
    config = uvicorn.Config(
        app, log_config=None, log_level="error", access_log=False, loop="asyncio", lifespan="off",
        timeout_graceful_shutdown=_GRACE, server_header=False,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[bound])


class _Lines(logging.Handler):
    """Log records as single lines."""

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self._log(f"error: {type(cause).__name__}: {cause}" if cause else f"error: {record.getMessage()}")
