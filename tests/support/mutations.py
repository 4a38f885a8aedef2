"""Damage to the bytes of a file: what disks, editors and hands do to it."""

from __future__ import annotations

from collections.abc import Iterable

TOKENS = [
    *(b"nan", b"inf", b"-1e400", b"1e-300", b"9" * 40, b"0", b"-", b"..", b"\x00", b"\xff\xfe", b"\n", b" "),
    *(b"'", b'"', b"[", b"{", b"}", b",", b"<", b"&", b"/", b";", b"#", b"loop_", b"data_", b"null", b"Xx"),
]
KINDS = ["cut", "drop", "twice", "noise", "token", "digit"]

Edit = tuple[str, float, int, bytes, bytes]
"""Kind, place (0 to 1), length in bytes, the token and the noise that it may put there."""


def mutate(data: bytes, edits: Iterable[Edit]) -> bytes:
    """The bytes after these edits, one after another."""
    for kind, where, length, token, noise in edits:
        at = int(where * len(data))
        head, middle, tail = data[:at], data[at : at + length], data[at + length :]
        match kind:
            case "cut":
                data = head
            case "drop":
                data = head + tail
            case "twice":
                data = head + middle * 3 + tail
            case "noise":
                data = head + noise + tail
            case "token":
                data = head + token + middle + tail
            case "digit":
                data = head + bytes((b + length) % 10 + 48 if 48 <= b < 58 else b for b in middle) + tail
    return data
