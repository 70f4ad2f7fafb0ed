"""Objects: OBJECT_HEADER before the body, pointer and handle counts in it, names in a directory.

The name information header precedes OBJECT_HEADER as on Windows (InfoMask bit 1), but here of
unnamed objects too. OBJECT_HEADER.TypeIndex is the type's index, exclusive-ored with ObHeaderCookie
and the second byte of the header's address. What only the simulation needs hangs on `Ob.bodies`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi.ob import (
    OBJECT_HEADER,
    OBJECT_HEADER_NAME_INFO,
    OBJECT_TYPE,
    OBJECT_TYPE_INITIALIZER,
)
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.hw.prng import Random
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.ob.entries import (
    obp_insert_entry,
    obp_name,
    obp_name_information,
    obp_remove_entry,
)
from ntsim.nt.rtl.lists import initialize

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

BODY = OBJECT_HEADER.offset_of("Body")
NAME_INFO = OBJECT_HEADER_NAME_INFO.size
INFO_NAME = 2
FLAG_PERMANENT = 0x10
"""OBJECT_HEADER.Flags: OB_FLAG_PERMANENT_OBJECT."""

REFERENCE_BY_POINTER, BAD_OBJECT_HEADER = 0x18, 0x189
FIRST_TYPE = 2
NO_TYPE = 0xBAD0_B0B0
"""ObTypeIndexTable[1]: no object's type."""



@dataclass(eq=False, slots=True)
class ObjectType:
    """A type: what happens to its objects when the last handle and the last reference go.

    `close(nt, body, process)` is called when a process's last handle to the object is closed
    (`last` tells whether it was the last of all); `delete(nt, body)` before the memory is freed.
    `defer(nt, body)` is asked before that: true if somebody will call `Ob.delete` later.
    `waitable_offset` is where in the body the dispatcher header is, None if there is none. `va`
    and `v` are its OBJECT_TYPE.
    """

    name: str
    generic_mapping: tuple[int, int, int, int]
    valid_access: int = 0x1F_FFFF
    close: Callable[[Kernel, int, Any, bool], None] | None = None
    delete: Callable[[Kernel, int], None] | None = None
    waitable_offset: int | None = None
    defer: Callable[[Kernel, int], bool] | None = None
    index: int = 0
    va: int = 0
    v: Any = None


class Ob:
    """Object state of one machine: types by name and by index, bodies, the root directory.

    `bodies` is what the simulation hangs on an object, `headers` are the views of the objects'
    OBJECT_HEADERs, both by body; `callbacks` what drivers have registered with
    ObRegisterCallbacks. `root` is the body of the root directory.
    """

    def __init__(self, nt: Kernel, seed: int) -> None:
        self.nt = nt
        self.types: dict[str, ObjectType] = {}
        self.by_index: dict[int, ObjectType] = {}
        self.bodies: dict[int, Any] = {}
        self.headers: dict[int, Any] = {}
        self.root = self.type_directory = 0
        self.callbacks: list[Any] = []
        self.cookie = Random(seed, "ObHeaderCookie").below(256)
        nt.mmu.write_word(mi_variable(nt, "ObHeaderCookie"), self.cookie)
        self.type_table = mi_variable(nt, "ObTypeIndexTable", 256 * 8)
        nt.mmu.write_word(self.type_table + 8, NO_TYPE)
        self.add_type(ObjectType("Type", (0x2_0000, 0x2_0000, 0x2_0000, 0xF_0001)))

    def add_type(self, made: ObjectType) -> ObjectType:
        """Register a type: an object of type Type, in \\ObjectTypes and ObTypeIndexTable.

        An index is one byte: there are up to 254 types.
        """
        made.index = FIRST_TYPE + len(self.types)
        self.types[made.name] = self.by_index[made.index] = made
        body = made.va = self.create(self.types["Type"], OBJECT_TYPE.size, made, "ObjT")
        kind = OBJECT_TYPE.at(self.nt.mmu, body)
        v = made.v = kind._v
        v.Index = made.index
        v.Key = int.from_bytes(made.name.encode().ljust(4)[:4], "little")
        v.TypeInfo_Length = OBJECT_TYPE_INITIALIZER.size
        v.TypeInfo_ValidAccessMask = made.valid_access
        mapping = kind.TypeInfo.GenericMapping._v
        (
            mapping.GenericRead, mapping.GenericWrite, mapping.GenericExecute, mapping.GenericAll,
        ) = made.generic_mapping  # fmt: skip
        for head in ("TypeList", "CallbackList"):
            initialize(self.nt.mmu, body + OBJECT_TYPE.offset_of(head))
        text = self.nt.allocate_pool(len(made.name) * 2 + 2, "ObNm")
        self.nt.mmu.write(text, made.name.encode("utf-16-le") + b"\0\0")
        set_unicode(kind.Name, text, len(made.name) * 2)
        self.nt.mmu.write_word(self.type_table + 8 * made.index, body)
        if len(self.types) == 1:
            self.count_object(made, 1)
        if self.type_directory:
            self.enter_type(made)
        return made

    def enter_type(self, made: ObjectType) -> None:
        """Name a type \\ObjectTypes\\Name for good."""
        self.attach_name(made.va, self.type_directory, made.name)
        self.make_permanent(made.va)

    def create(
        self,
        kind: ObjectType,
        size: int,
        attached: Any = None,
        tag: str = "",
        paged: bool = False,
    ) -> int:
        """A zeroed object with one reference; the address of its body, 0 if memory is short."""
        total = NAME_INFO + BODY + size
        block = self.nt.ex.pool.allocate(total, tag or kind.name[:4], paged=paged)
        if not block:
            return 0
        self.nt.mmu.write(block, bytes(total))
        body = block + NAME_INFO + BODY
        v = self.headers[body] = self.header(body)._v
        v.PointerCount, v.HandleCount, v.InfoMask = 1, 0, INFO_NAME
        v.TypeIndex = kind.index ^ self.cookie ^ (body - BODY >> 8 & 0xFF)
        self.bodies[body] = attached
        if kind.v is not None:
            self.count_object(kind, 1)
        return body

    @staticmethod
    def count_object(kind: ObjectType, change: int) -> None:
        """One object of the type more or less."""
        v = kind.v
        v.TotalNumberOfObjects = number = v.TotalNumberOfObjects + change
        if number > v.HighWaterNumberOfObjects:
            v.HighWaterNumberOfObjects = number

    @staticmethod
    def count_handle(kind: ObjectType, change: int) -> None:
        """One handle to an object of the type more or less."""
        v = kind.v
        v.TotalNumberOfHandles = number = v.TotalNumberOfHandles + change
        if number > v.HighWaterNumberOfHandles:
            v.HighWaterNumberOfHandles = number

    def make_permanent(self, body: int) -> None:
        """The object's name outlives its handles."""
        self.header(body)._v.Flags |= FLAG_PERMANENT

    def is_permanent(self, body: int) -> bool:
        return bool(self.header(body)._v.Flags & FLAG_PERMANENT)

    def header(self, body: int) -> Any:
        return OBJECT_HEADER.at(self.nt.mmu, body - BODY)

    def type_of(self, body: int) -> ObjectType:
        """The type that the header names; 0x189 if that is none."""
        v = self.headers.get(body) or self.header(body)._v
        index = v.TypeIndex ^ self.cookie ^ (body - BODY >> 8 & 0xFF)
        found = self.by_index.get(index)
        if found is None:
            named = self.nt.read_pointer(self.type_table + 8 * index)
            self.nt.bugcheck(BAD_OBJECT_HEADER, body - BODY, named, 0, 0)
        return found

    def type_at(self, body: int) -> ObjectType | None:
        """The type that the header before any address names; None if it names none."""
        v = self.headers.get(body) or self.header(body)._v
        return self.by_index.get(v.TypeIndex ^ self.cookie ^ (body - BODY >> 8 & 0xFF))

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
            kind = self.type_at(body)
            address = kind.va if kind else 0
            self.nt.bugcheck(REFERENCE_BY_POINTER, address, body, 2, count & (1 << 64) - 1)
        v.PointerCount = count
        if count == 0:
            defer = self.type_of(body).defer
            if defer is None or not defer(self.nt, body):
                self.delete(body)
        return count

    def delete(self, body: int) -> None:
        """An object without references goes: its type's routine, its name, its memory."""
        kind = self.type_of(body)
        self.remove_name(body)
        if kind.delete is not None:
            kind.delete(self.nt, body)
        if kind.v.TypeInfo_DeleteProcedure:
            self.nt.call(kind.v.TypeInfo_DeleteProcedure, body)
        self.count_object(kind, -1)
        descriptor = self.headers[body].SecurityDescriptor & ~0xF
        if descriptor:
            self.nt.free_pool(descriptor)
        self.bodies.pop(body, None)
        self.headers.pop(body, None)
        self.nt.free_pool(body - BODY - NAME_INFO)

    def attach_name(self, body: int, directory: int, name: str, held: bool = False) -> None:
        """Enter an object into a directory, which it references as long as it has a name.

        `held`: the name references the object, as Windows' do.
        """
        info = obp_name_information(self.nt, body)
        text = self.nt.allocate_pool(len(name) * 2 + 2, "ObNm")
        self.nt.mmu.write(text, name.encode("utf-16-le") + b"\0\0")
        set_unicode(info.Name, text, len(name) * 2)
        info._v.Directory = directory
        obp_insert_entry(self.nt, directory, name, body)
        self.reference(directory)
        if held:
            info._v.ReferenceCount = 1
            self.reference(body)

    def remove_name(self, body: int) -> None:
        """Take an object out of the namespace."""
        info = obp_name_information(self.nt, body)
        directory = info._v.Directory
        if not directory:
            return
        obp_remove_entry(self.nt, directory, obp_name(self.nt, body))
        self.nt.free_pool(info._v.Name_Buffer)
        set_unicode(info.Name, 0, 0)
        info._v.Directory = 0
        self.dereference(directory)
        if info._v.ReferenceCount:
            info._v.ReferenceCount = 0
            self.dereference(body)

    def is_held_by_name(self, body: int) -> bool:
        return bool(obp_name_information(self.nt, body)._v.ReferenceCount)

    def full_name(self, body: int) -> str:
        """`\\Device\\Name`, empty for an unnamed object."""
        parts: list[str] = []
        while directory := obp_name_information(self.nt, body)._v.Directory:
            parts.append(obp_name(self.nt, body))
            body = directory
        return "".join("\\" + part for part in reversed(parts))


def set_unicode(string: Any, buffer: int, length: int) -> None:
    """Fill a UNICODE_STRING; lengths in bytes, room for a terminator."""
    v = string._v
    v.Buffer, v.Length, v.MaximumLength = buffer, length, length + 2 if buffer else 0


assert UNICODE_STRING.size == 0x10
