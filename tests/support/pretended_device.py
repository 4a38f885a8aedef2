"""A device that is none: CPU tensors under the name ``meta`` that refuse to be mixed with others, as a GPU's do.

What runs on it gives the same numbers as on the CPU, and every copy to the host is counted. It knows the operations
that the learner uses, and where a GPU would be more patient (an index on the host) it is patient too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "meta"
_aten = torch.ops.aten
_WAITS = {
    _aten._local_scalar_dense.default, _aten.nonzero.default, _aten._unique2.default, _aten.unique_dim.default,
    _aten.masked_select.default, _aten.equal.default, _aten.is_nonzero.default,
}  # fmt: skip


class Far(torch.Tensor):
    """A tensor of the pretended device; ``near`` holds its numbers."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> Far:
        made = torch.Tensor._make_wrapper_subclass(
            cls, near.size(), strides=near.stride(), storage_offset=0, dtype=near.dtype, layout=near.layout,
            device=NAME, requires_grad=False,
        )  # fmt: skip
        made.near = near.detach()
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "tolist":
            copies["tolist"] += 1
            return args[0].near.tolist()
        if name in ("numpy", "__array__"):
            raise TypeError("a tensor of another device has no numpy array")
        if name == "new_tensor":
            return Far(_tensor(args[1], dtype=args[0].dtype))
        if name in ("__getitem__", "__setitem__") and isinstance(args[1], list):
            args = (args[0], Far(_tensor(args[1])), *args[2:])
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


copies: Counter[str] = Counter()
"""Copies to the host, and waits for it, by operation."""

_tensor, _generator = torch.tensor, torch.Generator


_names: dict[Any, str] = {}


def _nearer(value: Any, given: list[torch.Tensor]) -> Any:
    """The value with the numbers of far tensors in their place; every tensor in it is appended to ``given``."""
    if isinstance(value, torch.Tensor):
        given.append(value)
        return value.near if isinstance(value, Far) else value
    if isinstance(value, (tuple, list)):
        return type(value)(_nearer(item, given) for item in value)
    return value


def _farther(value: Any) -> Any:
    """The value with its tensors on the pretended device."""
    if isinstance(value, torch.Tensor):
        return value if isinstance(value, Far) else Far(value)
    if isinstance(value, (tuple, list)):
        return type(value)(_farther(item) for item in value)
    return value


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    given: list[torch.Tensor] = []
    nearer = _nearer(args, given)
    named = {key: _nearer(value, given) for key, value in kwargs.items()}
    far = any(isinstance(a, Far) for a in given)
    device = kwargs.get("device")
    goes = None if device is None else torch.device(device).type
    name = _names.get(func) or _names.setdefault(func, str(func))
    if far and "copy_" not in name and any(a.dim() for a in given if not isinstance(a, Far)):
        indexed = func in (_aten.index.Tensor, _aten.index_put_.default, _aten._index_put_impl_.default)
        if not (indexed and isinstance(args[0], Far)):
            raise RuntimeError(f"tensors of two devices: {name}")
    if far and (func in _WAITS or goes == "cpu"):
        copies[name] += 1
    if goes == NAME:
        named["device"] = torch.device("cpu")
    with torch.no_grad():
        out = func(*nearer, **named)
    called = name.split(".")[1]
    if called.endswith("_") and not called.startswith("__") and given:
        return given[0]  # in place: the caller's own tensor
    return _farther(out) if goes == NAME or (far and goes != "cpu") else out


class _Everywhere(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Generator(_generator):
    """A generator that says it is of the device it was asked for."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = _generator.__new__(cls, device="cpu")
        made.place = torch.device(device)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return self.place


def _made(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
    made = _tensor(*args, **kwargs)
    return Far(made) if device is not None and torch.device(device).type == NAME else made


@contextmanager
def pretended() -> Iterator[Counter[str]]:
    """While it lasts there is such a device; what was copied to the host so far."""
    copies.clear()
    torch.tensor, torch.Generator = _made, _Generator
    try:
        with _Everywhere():
            yield copies
    finally:
        torch.tensor, torch.Generator = _tensor, _generator
