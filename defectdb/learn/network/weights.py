"""Weights as bytes in the safetensors layout and back: numbers and names alone, nothing that could be run.

Eight bytes give the length of a JSON header of names, types, shapes and places; the numbers follow, little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from defectdb.errors import InputDataError

Arrays = dict[str, "np.ndarray[Any, np.dtype[Any]]"]

_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_LONGEST_HEADER = 1 << 24  # bytes


def to_bytes(
    arrays: Mapping[str, np.ndarray[Any, np.dtype[Any]]], notes: Mapping[str, str] | None = None
) -> bytes:
    """The arrays (float32, float64 or int64) and short texts about them."""
    header: dict[str, Any] = {"__metadata__": dict(notes or {})}
    body, at = [], 0
    for name, array in arrays.items():
        plain = np.ascontiguousarray(array)
        plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
        piece = plain.tobytes()
        header[name] = {
            "dtype": _NAMES[plain.dtype], "shape": list(array.shape), "data_offsets": [at, at + len(piece)],
        }  # fmt: skip
        body.append(piece)
        at += len(piece)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(body)


def from_bytes(data: bytes, where: str) -> tuple[Arrays, dict[str, str]]:
    """The arrays, and the texts about them. Raises InputDataError, naming ``where``, for bytes of another layout."""
    try:
        return _read(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InputDataError(f"{where} holds no weights in the safetensors layout: {error}") from error


def _read(data: bytes) -> tuple[Arrays, dict[str, str]]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_LONGEST_HEADER, len(data) - 8):
        raise ValueError("its header is longer than itself")
    header = json.loads(data[8 : 8 + length])
    notes = header.pop("__metadata__", {})
    if any(not isinstance(text, str) for text in notes.values()):
        raise ValueError("its notes are no texts")
    body = data[8 + length :]
    arrays: Arrays = {}
    for name, entry in header.items():
        dtype, shape, (start, end) = _TYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        if any(type(n) is not int or n < 0 for n in (*shape, start, end)) or end > len(body):
            raise ValueError(f"{name} lies outside of it")
        if end - start != prod(shape) * dtype.itemsize:
            raise ValueError(
                f"{name} has {end - start} bytes, its shape {shape} needs {prod(shape) * dtype.itemsize}"
            )
        arrays[name] = np.frombuffer(body[start:end], dtype=dtype).reshape(shape).copy()
    return arrays, notes
