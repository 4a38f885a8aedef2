"""A folder shown to this machine's browser: files whole or in parts, nothing outside the folder."""

from __future__ import annotations

import re
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from defectdb.errors import UsageError

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def local_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the folder's files on 127.0.0.1, not yet running; port 0 takes any free one.

    Raises UsageError where the port is taken.
    """
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Files, directory=str(folder)))
    except (OSError, OverflowError) as cause:
        why = getattr(cause, "strerror", None) or cause
        raise UsageError(f"port {port} cannot be used: {why}; --port 0 takes any free one") from cause


class _Files(SimpleHTTPRequestHandler):
    """Files with the types that browsers demand of modules and WebAssembly, and parts of files."""

    extensions_map: dict[str, str] = {  # noqa: RUF012  (the base class has it as an attribute of instances)
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm",
        ".woff2": "font/woff2", ".duckdb": "application/octet-stream",
    }  # fmt: skip

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        self.send_header(
            "Cache-Control", "no-cache"
        )  # asked for again each time, sent again only when changed
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def send_head(self) -> BytesIO | BinaryIO | None:
        """The whole file, or the part of it that the request names."""
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            return super().send_head()
        size = path.stat().st_size
        first, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
        if first > last:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        with path.open("rb") as file:
            file.seek(first)
            part = file.read(last - first + 1)
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return BytesIO(part)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests are no narration."""
