"""Objects: OBJECT_HEADER before the body, pointer and handle counts in it, names in a directory.

The name information header precedes OBJECT_HEADER as on Windows (InfoMask bit 1). Reference counts
live in the header's bytes; what only the simulation needs hangs on `Ob.bodies`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntsim.abi.ob import OBJECT_HEADER, OBJECT_HEADER_NAME_INFO, OBJECT_TYPE
from ntsim.abi.rtl import UNICODE_STRING

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

BODY = OBJECT_HEADER.offset_of("Body")
NAME_INFO = OBJECT_HEADER_NAME_INFO.size
INFO_NAME = 2
FLAG_PERMANENT = 0x10
"""OBJECT_HEADER.Flags: OB_FLAG_PERMANENT_OBJECT."""

REFERENCE_BY_POINTER = 0x18


@dataclass(eq=False, slots=True)
class ObjectType:
    """A type: what happens to its objects when the last handle and the last reference go.

    `close(nt, body, process)` is called when a process's last handle to the object is closed
    (`last` tells whether it was the last of all); `delete(nt, body)` before the memory is freed.
    `waitable_offset` is where in the body the dispatcher header is, None if there is none.
    """

    name: str
    generic_mapping: tuple[int, int, int, int]
    valid_access: int = 0x1F_FFFF
    close: Callable[[Kernel, int, Any, bool], None] | None = None
    delete: Callable[[Kernel, int], None] | None = None
    waitable_offset: int | None = None
    index: int = 0
    va: int = 0


@dataclass(eq=False, slots=True)
class Directory:
    """An object directory: names, compared without case, to bodies."""

    name: str
    entries: dict[str, tuple[str, int]] = field(default_factory=dict)


class Ob:
    """Object state of one machine: types, bodies by address, the root directory.

    `headers` are the views of the objects' OBJECT_HEADERs, by body; `callbacks` what drivers have
    registered with ObRegisterCallbacks.
    """

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.types: dict[str, ObjectType] = {}
        self.by_index: dict[int, ObjectType] = {}
        self.bodies: dict[int, Any] = {}
        self.headers: dict[int, Any] = {}
        self.names: dict[int, tuple[Directory, str]] = {}
        self.root = Directory("\\")
        self.root_body = 0
        self.callbacks: list[Any] = []

    def add_type(self, made: ObjectType) -> ObjectType:
        """Register a type and give it an OBJECT_TYPE in memory."""
        made.index = 2 + len(self.types)
        made.va = self.nt.allocate_pool(OBJECT_TYPE.size, "ObjT")
        self.nt.mmu.write(made.va, bytes(OBJECT_TYPE.size))
        kind = OBJECT_TYPE.at(self.nt.mmu, made.va)
        kind._v.Index = made.index
        text = self.nt.allocate_pool(len(made.name) * 2 + 2, "ObNm")
        self.nt.mmu.write(text, made.name.encode("utf-16-le") + b"\0\0")
        set_unicode(kind.Name, text, len(made.name) * 2)
        self.types[made.name] = self.by_index[made.index] = made
        return made

    def create(self, kind: ObjectType, size: int, attached: Any = None, tag: str = "") -> int:
        """A zeroed object with one reference; the address of its body, 0 if memory is short."""
        total = NAME_INFO + BODY + size
        block = self.nt.allocate_pool(total, tag or kind.name[:4])
        if not block:
            return 0
        self.nt.mmu.write(block, bytes(total))
        body = block + NAME_INFO + BODY
        v = self.headers[body] = self.header(body)._v
        v.PointerCount, v.HandleCount, v.TypeIndex, v.InfoMask = 1, 0, kind.index, INFO_NAME
        self.bodies[body] = attached
        return body

    def make_permanent(self, body: int) -> None:
        """The object's name outlives its handles."""
        self.header(body)._v.Flags |= FLAG_PERMANENT

    def is_permanent(self, body: int) -> bool:
        return bool(self.header(body)._v.Flags & FLAG_PERMANENT)

    def header(self, body: int) -> Any:
        return OBJECT_HEADER.at(self.nt.mmu, body - BODY)

    def type_of(self, body: int) -> ObjectType:
        v = self.headers.get(body)
        return self.by_index[(v or self.header(body)._v).TypeIndex]

    def is_object(self, body: int) -> bool:
        return body in self.bodies

    def reference(self, body: int, count: int = 1) -> int:
        """Add references; the new count."""
        v = self.headers.get(body) or self.header(body)._v
        v.PointerCount = made = v.PointerCount + count
        return int(made)

    def dereference(self, body: int) -> int:
        """Drop one reference; the object goes with the last. The new count; below zero is 0x18."""
        v = self.headers.get(body)
        count: int = (v or self.header(body)._v).PointerCount - 1
        if count < 0 or v is None:
            kind = self.by_index.get(self.header(body)._v.TypeIndex)
            address = kind.va if kind else 0
            self.nt.bugcheck(REFERENCE_BY_POINTER, address, body, 2, count & (1 << 64) - 1)
        v.PointerCount = count
        if count == 0:
            self._delete(body)
        return count

    def _delete(self, body: int) -> None:
        kind = self.type_of(body)
        self.remove_name(body)
        if kind.delete is not None:
            kind.delete(self.nt, body)
        self.bodies.pop(body, None)
        self.headers.pop(body, None)
        self.nt.free_pool(body - BODY - NAME_INFO)

    def attach_name(self, body: int, directory: Directory, name: str) -> None:
        """Enter an object into a directory; a named permanent object keeps a reference."""
        directory.entries[name.lower()] = (name, body)
        self.names[body] = (directory, name)
        info = OBJECT_HEADER_NAME_INFO.at(self.nt.mmu, body - BODY - NAME_INFO)
        text = self.nt.allocate_pool(len(name) * 2 + 2, "ObNm")
        self.nt.mmu.write(text, name.encode("utf-16-le") + b"\0\0")
        set_unicode(info.Name, text, len(name) * 2)

    def remove_name(self, body: int) -> None:
        """Take an object out of the namespace."""
        place = self.names.pop(body, None)
        if place is None:
            return
        directory, name = place
        directory.entries.pop(name.lower(), None)
        info = OBJECT_HEADER_NAME_INFO.at(self.nt.mmu, body - BODY - NAME_INFO)
        self.nt.free_pool(int(info.Name.Buffer))
        set_unicode(info.Name, 0, 0)

    def full_name(self, body: int) -> str:
        """`\\Device\\Name`, empty for an unnamed object."""
        parts: list[str] = []
        place = self.names.get(body)
        while place is not None:
            directory, name = place
            parts.append(name)
            place = self.directory_place(directory)
        return "".join("\\" + part for part in reversed(parts))

    def directory_place(self, directory: Directory) -> tuple[Directory, str] | None:
        """Where a directory itself is entered; None for the root."""
        body = next((b for b, d in self.bodies.items() if d is directory), None)
        return None if body is None else self.names.get(body)


def set_unicode(string: Any, buffer: int, length: int) -> None:
    """Fill a UNICODE_STRING; lengths in bytes, room for a terminator."""
    v = string._v
    v.Buffer, v.Length, v.MaximumLength = buffer, length, length + 2 if buffer else 0


assert UNICODE_STRING.size == 0x10
