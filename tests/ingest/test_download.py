"""The public archive by name, from a local server that also breaks off, refuses and sends other bytes."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.builders import make_archive

from defectdb.cli import run
from defectdb.db import MEMORY, open_database
from defectdb.errors import InputDataError, UsageError
from defectdb.ingest import Download, Options, load
from defectdb.ingest.archives import download
from defectdb.ingest.archives.download import ARCHIVE, fetch


class Shop(ThreadingHTTPServer):
    """Serves one file; ``cut`` bytes per answer if set, ``status`` in place of it if set."""

    data = b""
    cut: int | None = None
    status: int | None = None
    ranges = True
    requests: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        if self.server.status is not None:
            self.send_error(self.server.status)
            return
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        if start >= len(self.server.data):
            self.send_error(416)
            return
        body = self.server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.server.cut is None else body[: self.server.cut])

    def log_message(self, *arguments):
        return


@pytest.fixture
def shop(tmp_path):
    data = make_archive(structures=4).write(tmp_path / "served.zip").read_bytes()
    server = Shop(("127.0.0.1", 0), Handler)
    server.requests = []
    server.data = data
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def order(shop, tmp_path):
    def make(**options):
        url = f"http://127.0.0.1:{shop.server_address[1]}/archive.zip"
        return Download(**({"url": url, "cache": tmp_path / "cache"} | options))

    return make


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_the_archive_is_downloaded_once_and_ingested(shop, order):
    with open_database(MEMORY) as db:
        for loaded, unchanged in ((4, 0), (0, 4)):
            [report] = load(db, [Path("2dmd")], options=Options(download=order()))
            assert (report.loaded, report.unchanged) == (loaded, unchanged)
    assert len(shop.requests) == 1


def test_a_download_that_breaks_off_is_resumed(shop, order, tmp_path):
    shop.cut = 2000
    with pytest.raises(InputDataError, match=r"the download broke off.*run again to resume"):
        fetch(order())
    assert not (tmp_path / "cache" / ARCHIVE).exists()
    shop.cut = None
    assert fetch(order()).read_bytes() == shop.data
    assert shop.requests == [None, "bytes=2000-"]


def test_a_server_that_cannot_resume_sends_all_of_it_again(shop, order):
    shop.cut = 2000
    with pytest.raises(InputDataError, match="broke off"):
        fetch(order())
    shop.cut, shop.ranges = None, False
    assert fetch(order()).read_bytes() == shop.data


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(shop, order, tmp_path):
    with pytest.raises(InputDataError, match=rf"has SHA-256 {sha(shop.data)}, not {'0' * 64}"):
        fetch(order(sha256="0" * 64))
    assert [f.name for f in (tmp_path / "cache").iterdir()] == []
    assert fetch(order(sha256=sha(shop.data).upper())).read_bytes() == shop.data


def test_the_first_download_s_checksum_is_demanded_ever_after(shop, order):
    path = fetch(order())
    path.unlink()
    shop.data = b"x" + shop.data[1:]
    with pytest.raises(InputDataError, match="has SHA-256"):
        fetch(order())
    path.write_bytes(shop.data)
    with pytest.raises(InputDataError, match="has SHA-256"):
        fetch(order(offline=True))


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_refusal_by_the_server_is_named(shop, order, status):
    shop.status = status
    with pytest.raises(InputDataError, match=f"the server answers {status}"):
        fetch(order())


def test_a_server_that_is_not_there_is_named(order, tmp_path):
    with pytest.raises(InputDataError, match="the download broke off"):
        fetch(order(url="http://127.0.0.1:9/x.zip"))
    with pytest.raises(UsageError, match=r"is no http\(s\) address"):
        fetch(order(url="file:///etc/passwd"))


def test_offline_takes_the_cached_copy_or_says_where_to_get_one(shop, order):
    with pytest.raises(UsageError, match=f"{ARCHIVE} is not in .*--url"):
        fetch(order(offline=True))
    fetch(order())
    assert fetch(order(offline=True, url=None)).read_bytes() == shop.data
    assert len(shop.requests) == 1


def test_without_an_address_the_registered_one_is_asked(shop, order, monkeypatch):
    assert download.ADDRESS.startswith("https://research.constructor.tech/open/2d-materials-point-defects/")
    assert download.ADDRESS.endswith(ARCHIVE)
    monkeypatch.setattr(download, "ADDRESS", order().url)
    assert fetch(order(url=None)).read_bytes() == shop.data


def test_a_page_in_place_of_the_archive_is_refused_and_not_recorded(shop, order):
    good, shop.data = shop.data, b"<html>sign in</html>"
    with pytest.raises(InputDataError, match=r"sends no zip archive.*get it by hand from the page"):
        fetch(order())
    shop.data = good
    assert fetch(order()).read_bytes() == good


def test_the_command_line_says_where_the_archive_is_to_be_had(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run(["--db", str(tmp_path / "d.duckdb"), "ingest", "2dmd", "--offline"]) == 2
    assert "get it by hand from the page that https://doi.org/" in capfd.readouterr().err
