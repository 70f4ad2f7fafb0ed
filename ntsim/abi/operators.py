"""The operators of C that Python spells as calls: cast, sizeof, FIELD_OFFSET, CONTAINING_RECORD."""

from __future__ import annotations

from typing import Any

from ntsim.abi.memory import MASK64, current_memory
from ntsim.abi.types import PVOID_TYPE, VOID, Pointer, PointerType, pointer_to, prepare


def cast(value: int, kind: Any) -> Any:
    """`(kind)value`: the address `value` with another pointee.

    `kind` is a pointer type (PIRP, POINTER(ULONG)) or the pointee itself (IRP, ULONG); PVOID gives
    a plain address.
    """
    memory = value._m if isinstance(value, Pointer) else current_memory()
    target = kind.target if isinstance(kind, PointerType) else kind
    if target is PVOID_TYPE or target is VOID:
        return int(value) & MASK64
    return pointer_to(target, memory, int(value) & MASK64)


def sizeof(kind: Any) -> int:
    """Size in bytes of a type, or of the object that a typed pointer points to."""
    if isinstance(kind, Pointer):
        kind = kind._item
    prepare(kind)
    return int(kind.size)


def FIELD_OFFSET(structure: Any, field: str) -> int:
    """Byte offset of `field` (a string, dots for nested fields) in `structure`."""
    return int(structure.offset_of(field))


def CONTAINING_RECORD(address: int, structure: Any, field: str) -> Any:
    """The structure whose `field` lies at `address`."""
    memory = address._m if isinstance(address, Pointer) else current_memory()
    prepare(structure)
    return structure.at(memory, (int(address) - structure.offset_of(field)) & MASK64)
