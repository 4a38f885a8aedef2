"""The explorer's folder: what is written, what is refused, and how it is served."""

import http.client
import json
import re
import socketserver
import threading

import duckdb
import pytest
from click.testing import CliRunner
from support.doc_pages import json_keys

from defectdb.cli import cli, run
from defectdb.db import open_database
from defectdb.db.copies import copy_database
from defectdb.errors import DatabaseError, MissingPartError, UsageError
from defectdb.serve.site import write
from defectdb.serve.site.local_server import local_server


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """A folder of built pages, in small."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("index.html", "explorer.js"):
        (folder / name).write_text(name)
    monkeypatch.setattr(write, "assets_folder", lambda: folder)
    return folder


def test_a_site_holds_the_pages_and_a_copy_that_predicts_alike(assets, toy_path, tmp_path):
    written = write.write_site(toy_path, tmp_path / "public")
    assert {path.name for path in written} == {"index.html", "explorer.js", "defects.duckdb"}
    query = "SELECT * FROM predictions ORDER BY ALL"
    with open_database(toy_path, read_only=True) as db, open_database(written[0], read_only=True) as copy:
        assert copy.frame(query).equals(db.frame(query))
        macros = "SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal ORDER BY ALL"
        assert copy.frame(macros).equals(db.frame(macros))


def test_copies_are_of_the_storage_version_that_browsers_read(toy_path, tmp_path):
    copy_database(toy_path, tmp_path / "copy.duckdb")
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as copy:
        [(tags,)] = copy.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'copy'"
        ).fetchall()
    assert tags.startswith("v1.4")


def test_a_site_is_written_over_an_older_one_and_over_nothing_else(assets, toy_path, tmp_path):
    write.write_site(toy_path, tmp_path / "public")
    (tmp_path / "public" / "chunk-OLD.js").write_text("old")
    write.write_site(toy_path, tmp_path / "public")
    assert not (tmp_path / "public" / "chunk-OLD.js").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="holds other files; name a new or an empty folder"):
        write.write_site(toy_path, mine)
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]


def test_a_database_is_not_copied_onto_itself(toy_path):
    with pytest.raises(DatabaseError, match="is the database itself"):
        copy_database(toy_path, toy_path)


def test_missing_scripts_are_said_in_one_sentence(toy_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(write.resources, "files", lambda _: tmp_path)
    with pytest.raises(MissingPartError, match="make site-assets"):
        write.assets_folder()
    assert run(["--db", str(toy_path), "site", str(tmp_path / "public")]) == 2
    assert "`make site-assets`" in capsys.readouterr().err


def test_a_site_without_a_folder_is_only_served():
    result = CliRunner().invoke(cli, ["site"])
    assert isinstance(result.exception, UsageError)
    assert "name the folder to write" in str(result.exception)


def test_json_says_what_was_written_and_where_it_is_shown(assets, toy_path, tmp_path, capsys, monkeypatch):
    command = ["-q", "--db", str(toy_path), "site", str(tmp_path / "public"), "--json"]
    assert run(command) == 0
    written = json.loads(capsys.readouterr().out)
    assert list(written) == json_keys("`site`")
    assert written["files"] == 3

    def interrupted(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(socketserver.BaseServer, "serve_forever", interrupted)
    assert run([*command, "--serve", "--port", "0"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {**written, "address": shown["address"]}
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", shown["address"])


@pytest.fixture
def served(tmp_path):
    (tmp_path / "a.wasm").write_bytes(bytes(range(100)))
    with local_server(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        (None, 200, bytes(range(100))),
        ("bytes=10-19", 206, bytes(range(10, 20))),
        ("bytes=90-", 206, bytes(range(90, 100))),
        ("bytes=90-500", 206, bytes(range(90, 100))),
        ("bytes=100-200", 416, b""),
    ],
)
def test_files_are_served_whole_and_in_parts(served, wanted, status, body):
    served.request("GET", "/a.wasm", headers={} if wanted is None else {"Range": wanted})
    answer = served.getresponse()
    assert (answer.status, answer.read()) == (status, body)
    if status < 400:
        assert answer.headers["Content-Type"] == "application/wasm"


def test_nothing_outside_the_folder_is_served(served):
    served.request("GET", "/../../../../etc/passwd")
    assert served.getresponse().status == 404


def test_a_port_in_use_is_named(served, tmp_path):
    with pytest.raises(UsageError, match=f"port {served.port} cannot be used"):
        local_server(tmp_path, served.port)
