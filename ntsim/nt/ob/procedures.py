"""The procedures that OBJECT_TYPE.TypeInfo names: a driver's own types have them, and a driver may
write them into the system's.

They are read at each use. Their prototypes are those of the public symbols of 19041:
OpenProcedure(Reason, AccessMode, Process, Object, GrantedAccess *, HandleCount),
CloseProcedure(Process, Object, ProcessHandleCount, SystemHandleCount), DeleteProcedure(Object),
OkayToCloseProcedure(Process, Object, Handle, AccessMode), ParseProcedure(ParseObject, ObjectType,
AccessState, AccessMode, Attributes, CompleteName, RemainingName, Context, SecurityQos, Object *).
Counts of handles include the one that is opened or closed. Source: ReactOS kmtests ObType.c,
ntoskrnl/ob/obhandle.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.nt.ob.objects import set_unicode

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ob.objects import ObjectType
    from ntsim.nt.ps.process import Process

CREATE_HANDLE, OPEN_HANDLE, DUPLICATE_HANDLE = 0, 1, 2
"""OB_OPEN_REASON."""
MAINTAIN_HANDLE_COUNT = 0x10
"""TypeInfo.ObjectTypeFlags."""


def handles_of(nt: Kernel, kind: ObjectType, process: Process, body: int) -> int:
    """How many handles a process has to an object; 0 if its type does not count them."""
    if not kind.v.TypeInfo_ObjectTypeFlags & MAINTAIN_HANDLE_COUNT:
        return 0
    table = process.handles
    found = (table.lookup(handle) for handle in table.handles())
    return sum(1 for entry in found if entry is not None and entry[0] == body)


def ob_call_open(
    nt: Kernel, kind: ObjectType, reason: int, process: Process, body: int, access: int
) -> tuple[int, int]:
    """(status, granted access) after a type's open procedure, which may refuse a handle."""
    routine = kind.v.TypeInfo_OpenProcedure
    if not routine:
        return ntstatus.STATUS_SUCCESS, access
    place = nt.allocate_pool(8, "ObAc")
    if not place:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES, access
    nt.mmu.write_word(place, access)
    mode, count = nt.thread.v.PreviousMode, handles_of(nt, kind, process, body)
    if kind.v.TypeInfo_ObjectTypeFlags & MAINTAIN_HANDLE_COUNT:
        count += 1
    status = nt.call(routine, reason, mode, process.va, body, place, count) & 0xFFFF_FFFF
    granted = nt.mmu.read_word(place) & 0xFFFF_FFFF
    nt.free_pool(place)
    return status, granted


def ob_call_close(nt: Kernel, kind: ObjectType, process: Process, body: int, left: int) -> None:
    """A type's close procedure, after the handle is gone; `left` handles there are besides."""
    routine = kind.v.TypeInfo_CloseProcedure
    count = handles_of(nt, kind, process, body)
    if kind.v.TypeInfo_ObjectTypeFlags & MAINTAIN_HANDLE_COUNT:
        count += 1
    nt.call(routine, process.va, body, count, left + 1)


def ob_may_close(nt: Kernel, kind: ObjectType, process: Process, body: int, handle: int) -> bool:
    """What a type's okay-to-close procedure says; TRUE without one."""
    routine = kind.v.TypeInfo_OkayToCloseProcedure
    mode = nt.thread.v.PreviousMode
    return not routine or bool(nt.call(routine, process.va, body, handle, mode) & 0xFF)


class Strings:
    """UNICODE_STRINGs in pool for the length of a `with`."""

    def __init__(self, nt: Kernel, *texts: str) -> None:
        self.nt, self.texts = nt, texts

    def __enter__(self) -> list[Any]:
        made = []
        for text in self.texts:
            data = text.encode("utf-16-le", "surrogatepass")
            block = self.nt.allocate_pool(UNICODE_STRING.size + len(data) + 2, "ObNm")
            self.nt.mmu.write(block + UNICODE_STRING.size, data + b"\0\0")
            string = UNICODE_STRING.at(self.nt.mmu, block)
            set_unicode(string, block + UNICODE_STRING.size, len(data))
            made.append(string)
        self.blocks = [int(string) for string in made]
        return made

    def __exit__(self, *error: object) -> None:
        for block in self.blocks:
            self.nt.free_pool(block)


def ob_call_parse(
    nt: Kernel, found: int, wanted: int, path: str, remaining: str, attributes: int, context: int
) -> tuple[int, int]:
    """(status, referenced object) of a type's parse procedure for the rest of a name.

    `wanted` is the OBJECT_TYPE that is asked for, 0: any. Success without an object is
    STATUS_OBJECT_NAME_NOT_FOUND.
    """
    routine = nt.ob.type_of(found).v.TypeInfo_ParseProcedure
    place = nt.allocate_pool(8, "ObPa")
    if not place:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES, 0
    nt.mmu.write_word(place, 0)
    mode = nt.thread.v.PreviousMode
    with Strings(nt, path, remaining) as (complete, rest):
        status = nt.call(
            routine, found, wanted, 0, mode, attributes, complete, rest, context, 0, place
        )  # fmt: skip
    body = nt.mmu.read_word(place)
    nt.free_pool(place)
    status &= 0xFFFF_FFFF
    if not status and not body:
        status = ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    return status, body
