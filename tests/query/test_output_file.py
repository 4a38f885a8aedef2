"""Output files are written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from defectdb.errors import InputDataError
from defectdb.query.output_file import whole_file, whole_folder, write_frame, write_whole

LARGE = pl.DataFrame({"a": [f"{k * 2654435761 % 2**32:x}" for k in range(20000)]})


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import polars as pl
from defectdb.errors import InputDataError
from defectdb.query.output_file import write_frame
rows = pl.DataFrame({"a": [f"{k * 2654435761 % 2**32:x}" for k in range(20000)]})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_frame(rows, Path(sys.argv[1]))
except InputDataError as error:
    print(error)
"""
"""No file of the process grows beyond a thousand bytes."""


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_full_disk_leaves_the_earlier_file_and_no_draft(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_frame(pl.DataFrame({"a": [1]}), path)
    before = path.read_bytes()
    told = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert name in told
    assert "cannot be written" in told
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_an_error_while_writing_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    write_whole(path, "before\n")

    def fail_half_way() -> None:
        with whole_file(path) as draft:
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert path.read_text() == "before\n"
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


def test_a_link_stays_a_link_to_the_new_text(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to("real.txt")
    write_whole(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="writes to a device that is always full")
def test_devices_are_written_to_directly(tmp_path: Path) -> None:
    write_whole(Path(os.devnull), "text")
    with pytest.raises(InputDataError, match="No space left"):
        write_whole(Path("/dev/full"), "text")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"nowhere/out.csv.*No such file"):
        write_frame(LARGE, tmp_path / "nowhere" / "out.csv")


def test_parquet_files_carry_units_and_what_they_are_about(tmp_path, toy_path):
    import json

    from defectdb.cli import run

    said = {}
    for name, command in {
        "predicted": ["predict", "--target", "homo_lumo_gap", "-o"],
        "pairs": ["export", "pairs", "--to", "parquet", "-o"],
        "placed": [
            "enumerate",
            "--supercell",
            "8,8,1",
            "--defects",
            "Vac_S,W_Mo",
            "--target",
            "formation_energy",
            "-o",
        ],
    }.items():
        path = tmp_path / f"{name}.parquet"
        assert run(["-q", "--db", str(toy_path), *command, str(path)]) == 0
        said[name] = json.loads(pl.read_parquet_metadata(path)["defectdb"])
    assert said["predicted"]["target"] == "homo_lumo_gap"
    assert said["predicted"]["units"]["value"] == "eV"
    assert said["pairs"]["units"]["distance"] == "angstrom"
    assert (said["placed"]["material"], said["placed"]["labels"]) == ("MoS2", ["Vac_S", "W_Mo"])


KILLED = """
import os, signal, sys
from pathlib import Path
from defectdb.query.output_file import whole_file
with whole_file(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.read()
"""
"""Begins to write a file; dies, or waits for the end of its input."""


def test_what_a_killed_command_began_is_removed_by_the_next_and_a_living_one_s_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.csv"
    subprocess.run([sys.executable, "-c", KILLED, str(path), "die"], check=False)
    (begun,) = tmp_path.iterdir()
    living = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert living.stdout is not None
    assert living.stdout.readline() == "writing\n"
    assert not begun.exists()
    write_frame(pl.DataFrame({"a": [1]}), path)
    living.communicate("", timeout=60)
    assert living.returncode == 0
    assert path.read_text() == "half"
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]


def test_a_folder_comes_whole_or_not_at_all_and_other_files_in_it_stay(tmp_path: Path) -> None:
    folder = tmp_path / "paper.v2"

    def fail_half_way() -> None:
        with whole_folder(folder) as draft:
            (draft / "a.tex").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
    with whole_folder(folder) as draft:
        (draft / "figures").mkdir()
        (draft / "figures" / "a.pdf").write_text("first")
        assert not folder.exists()
    (folder / "mine.tex").write_text("my words")
    with whole_folder(folder) as draft:
        (draft / "figures").mkdir()
        (draft / "figures" / "a.pdf").write_text("second")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "paper.v2/figures/a.pdf",
        "paper.v2/mine.tex",
    ]
    assert (folder / "figures" / "a.pdf").read_text() == "second"


KILLED_FOLDER = """
import os, signal, sys
from pathlib import Path
from defectdb.query.output_file import whole_folder
with whole_folder(Path(sys.argv[1])) as draft:
    (draft / "a.tex").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_folder_that_a_killed_command_began_is_removed_by_the_next(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_FOLDER, str(tmp_path / "paper")], check=False)
    (begun,) = tmp_path.iterdir()
    assert begun.name.endswith(".draft")
    with whole_folder(tmp_path / "paper") as draft:
        (draft / "a.tex").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["paper"]
