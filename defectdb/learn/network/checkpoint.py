"""A training job's state in a file: finished members and the one in work, so that a killed job goes on exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from defectdb.errors import InputDataError, UsageError
from defectdb.learn.network.weights import Arrays, from_bytes, to_bytes


@dataclass
class Checkpoint:
    """What a job has done so far; without a path nothing is kept.

    Attributes:
        path: the file, or None
        identity: hash of the options and rows; a file of another is refused
        done: weights of the finished members, by key
        current: state of the member in work, by key; at most one
    """

    path: Path | None
    identity: str
    done: dict[str, Arrays] = field(default_factory=dict)
    current: dict[str, Arrays] = field(default_factory=dict)

    def save(self) -> None:
        """Write the file whole or not at all."""
        if self.path is None:
            return
        arrays: Arrays = {}
        for part, kept in (("done", self.done), ("current", self.current)):
            arrays |= {
                f"{part}/{key}/{name}": x for key, member in kept.items() for name, x in member.items()
            }
        draft = self.path.with_name(f"{self.path.name}.part")
        draft.write_bytes(to_bytes(arrays, {"identity": self.identity}))
        draft.replace(self.path)

    def remove(self) -> None:
        """Delete the file of a finished job."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def open_checkpoint(path: Path | None, identity: str) -> Checkpoint:
    """The state kept in the file, or a new one where it is not there.

    Raises UsageError for the file of another job, InputDataError for one that is none.
    """
    found = Checkpoint(path, identity)
    if path is None or not path.exists():
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"--resume {path}: there is no folder {path.parent}")
        return found
    if not path.is_file():
        raise UsageError(f"--resume {path} is no file; name one to keep the training's state in")
    arrays, notes = from_bytes(path.read_bytes(), str(path))
    if notes.get("identity") != identity:
        raise UsageError(
            f"{path} keeps the state of a training with other options or data; name another file, or "
            "delete it to start anew"
        )
    for name, array in arrays.items():
        part, _, rest = name.partition("/")
        key, _, own = rest.partition("/")
        if part not in ("done", "current") or not own:
            raise InputDataError("no state of a training", path=str(path))
        (found.done if part == "done" else found.current).setdefault(key, {})[own] = array
    return found
