"""How fields of a structure are reached: a ctypes view of all leaves, a property for each field.

Memory that is guarded has `GuardedView` in the place of the ctypes view.
"""

from __future__ import annotations

import ctypes
from operator import attrgetter
from typing import Any

from ntsim.abi.memory import MASK64
from ntsim.abi.types import (
    VOID,
    ArrayType,
    PointerType,
    address_value,
    pointer_class,
    pointer_to,
)


class GuardedView:
    """The view of a structure in guarded memory: one checked access per field access."""

    __slots__ = ("_s",)

    def __init__(self, structure: Any) -> None:
        object.__setattr__(self, "_s", structure)

    def __getattr__(self, name: str) -> Any:
        structure = self._s
        offset, kind = structure._flat[name]
        return _load(structure._m, int(structure) + offset, kind)

    def __setattr__(self, name: str, value: Any) -> None:
        structure = self._s
        offset, kind = structure._flat[name]
        _store(structure._m, int(structure) + offset, kind, value)


def _load(memory: Any, va: int, kind: Any) -> Any:
    """A checked read of one leaf field."""
    data = memory.read(va & MASK64, kind.size)
    if isinstance(kind, ArrayType):
        return data
    return int.from_bytes(data, "little", signed=kind.signed)


def _store(memory: Any, va: int, kind: Any, value: Any) -> None:
    """A checked write of one leaf field."""
    if not isinstance(value, int):
        raise TypeError("int expected")
    data = (value & ((1 << 8 * kind.size) - 1)).to_bytes(kind.size, "little")
    memory.write(va & MASK64, data)


def revocable(view: Any, flat: dict[str, tuple[int, Any]]) -> Any:
    """The class of views whose memory may be taken back: they become instances of `_revoked`.

    That class has the same layout and checks each access, so that even a view which somebody holds
    faults as the memory behind it does.
    """
    made: Any = type(view.__name__, (view,), {"__slots__": ("_at", "_m")})
    body = {name: _checked(offset, kind) for name, (offset, kind) in flat.items()}
    made._revoked = type(view.__name__, (made,), {"__slots__": (), **body})
    return made


def _checked(offset: int, kind: Any) -> property:
    def get(view: Any) -> Any:
        return _load(view._m, view._at + offset, kind)

    def put(view: Any, value: Any) -> None:
        _store(view._m, view._at + offset, kind, value)

    return property(get, put)


def make_view(name: str, size: int, flat: dict[str, tuple[int, Any]]) -> Any:
    """A ctypes class with every leaf at its offset, overlapping ones in separate layers."""
    layers: list[list[tuple[str, Any]]] = []
    ends: list[int] = []
    for field, (offset, kind) in sorted(flat.items(), key=lambda item: item[1][0]):
        ctype = view_type(kind)
        layer = next((i for i, end in enumerate(ends) if end <= offset), None)
        if layer is None:
            layer = len(layers)
            layers.append([])
            ends.append(0)
        if offset > ends[layer]:
            layers[layer].append((f"_pad{offset:x}", ctypes.c_uint8 * (offset - ends[layer])))
        layers[layer].append((field, ctype))
        ends[layer] = offset + kind.size
    parts = [
        (
            f"_layer{i}",
            type(
                f"{name}_{i}",
                (ctypes.Structure,),
                {"__slots__": (), "_pack_": 1, "_fields_": layer},
            ),
        )
        for i, layer in enumerate(layers)
    ]
    parts.append(("_bytes", ctypes.c_uint8 * size))
    body = {
        "__slots__": (),  # or a misspelt field would be stored beside the bytes, unnoticed
        "_pack_": 1,
        "_anonymous_": [n for n, _ in parts[:-1]],
        "_fields_": parts,
    }
    return type(name, (ctypes.Union,), body)


def view_type(kind: Any) -> Any:
    if isinstance(kind, ArrayType):
        return ctypes.c_uint8 * kind.size
    return kind.ctype


def make_attribute(name: str, offset: int, kind: Any) -> property | NestedStructure:
    """The property of one field, by its kind."""
    if isinstance(kind, type):
        return NestedStructure(name, offset, kind)
    if isinstance(kind, ArrayType):
        return array_attribute(offset, kind)
    if isinstance(kind, PointerType):
        return pointer_attribute(name, kind)
    return scalar_attribute(name, kind)


def scalar_attribute(name: str, kind: Any) -> property:
    def put(self: Any, value: Any) -> None:
        try:
            setattr(self._v, name, value)
        except TypeError:
            setattr(self._v, name, address_value(self._m, value))

    return property(attrgetter("_v." + name), put)


def pointer_attribute(name: str, kind: PointerType) -> property:
    raw = attrgetter("_v." + name)
    cls: Any = None

    def get(self: Any) -> Any:
        nonlocal cls
        if cls is None:
            cls = int if kind.target is VOID else pointer_class(kind.target)
        return raw(self) if cls is int else cls.at(self._m, raw(self))

    def put(self: Any, value: Any) -> None:
        try:
            setattr(self._v, name, value)
        except TypeError:
            setattr(self._v, name, address_value(self._m, value))

    return property(get, put)


class NestedStructure:
    """A structure as a field: an address that does not change, kept by the object from its first
    use on. `fset` assigns the structure, as a property's does."""

    __slots__ = ("_kind", "_name", "_offset")

    def __init__(self, name: str, offset: int, kind: Any) -> None:
        self._name, self._offset, self._kind = name, offset, kind

    def __get__(self, structure: Any, owner: Any = None) -> Any:
        if structure is None:
            return self
        va = (int(structure) + self._offset) & MASK64
        inner = structure.__dict__[self._name] = self._kind.at(structure._m, va)
        return inner

    def fset(self, structure: Any, value: Any) -> None:
        self._kind.store(structure._m, (int(structure) + self._offset) & MASK64, value)


def array_attribute(offset: int, kind: ArrayType) -> property:
    def get(self: Any) -> Any:
        return pointer_to(kind.item, self._m, (int(self) + offset) & MASK64)

    def put(self: Any, value: Any) -> None:
        data = bytes(value)
        if len(data) > kind.size:
            raise ValueError(f"{len(data)} bytes do not fit in {kind.name}")
        self._m.write((int(self) + offset) & MASK64, data.ljust(kind.size, b"\0"))

    return property(get, put)
