"""Object directories and symbolic links by handle, and what is known of any handle.

Source: WDK ZwCreateDirectoryObject, ZwMakeTemporaryObject, ZwOpenSymbolicLinkObject,
ZwQuerySymbolicLinkObject, ZwQueryObject.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.ob import OBJECT_DIRECTORY, OBJECT_SYMBOLIC_LINK
from ntsim.abi.scalars import ACCESS_MASK, HANDLE, KPROCESSOR_MODE, NTSTATUS, PVOID, ULONG
from ntsim.nt.ex.arguments import Attributes
from ntsim.nt.ex.events import driver_attributes
from ntsim.nt.ex.named import exp_create, exp_find, exp_open, exp_open_found
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.ob.exports import ob_type_at
from ntsim.nt.ob.handles import ob_handle_attributes, ob_reference_by_handle
from ntsim.nt.ob.namespace import Found, ob_initialize_link
from ntsim.nt.ob.objects import FLAG_PERMANENT
from ntsim.nt.ob.procedures import ob_call_parse
from ntsim.nt.ob.query import ob_name_of
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.rtl import POBJECT_ATTRIBUTES, PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

BASIC_INFORMATION, NAME_INFORMATION, TYPE_INFORMATION = 0, 1, 2
BASIC_SIZE, TYPE_SIZE = 0x38, 0x68


@export(irql="== PASSIVE")
def ZwCreateDirectoryObject(
    nt: Kernel,
    DirectoryHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
) -> NTSTATUS:
    """A directory in the object namespace; it goes with its last handle unless OBJ_PERMANENT.

    Source: WDK ZwCreateDirectoryObject.
    """
    attributes = driver_attributes(nt, ObjectAttributes)
    kind, size = nt.ob.types["Directory"], OBJECT_DIRECTORY.size
    status, DirectoryHandle[0] = exp_create(
        nt, kind, size, attributes, DesiredAccess, lambda body: None
    )
    return status


@export(irql="== PASSIVE")
def ZwOpenDirectoryObject(
    nt: Kernel,
    DirectoryHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
) -> NTSTATUS:
    """A handle to an existing directory. Source: WDK ZwOpenDirectoryObject."""
    attributes = driver_attributes(nt, ObjectAttributes)
    kind = nt.ob.types["Directory"]
    status, DirectoryHandle[0] = exp_open(nt, kind, attributes, DesiredAccess)
    return status


@export(irql="== PASSIVE")
def ZwMakeTemporaryObject(nt: Kernel, Handle: HANDLE) -> NTSTATUS:
    """A permanent object goes with its last handle from now on. Source: WDK."""
    status, body, _ = ob_reference_by_handle(nt, Handle, 0, None, 0)
    if status:
        return status
    header = nt.ob.header(body)._v
    if header.Flags & FLAG_PERMANENT:
        header.Flags &= ~FLAG_PERMANENT
        if not nt.ob.is_held_by_name(body):
            nt.ob.dereference(body)
    nt.ob.dereference(body)
    return status


def obp_open_parsed(
    nt: Kernel, found: Found, attributes: Attributes, wanted: int, access: int, handle: Out[HANDLE]
) -> int:
    """A handle to what a type's parse procedure finds behind a name."""
    handle[0] = 0
    rest = (attributes.name, found.remaining, attributes.flags, 0)
    status, body = ob_call_parse(nt, found.body, wanted, *rest)
    if status:
        return status
    kind = nt.ob.type_of(body)
    if wanted not in (0, kind.va):
        status = ntstatus.STATUS_OBJECT_TYPE_MISMATCH
    else:
        status, handle[0] = exp_open_found(nt, kind, Found(0, body), attributes, access)
    nt.ob.dereference(body)
    return status


@export(irql="== PASSIVE")
def ObOpenObjectByName(
    nt: Kernel,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    ObjectType: PVOID,
    AccessMode: KPROCESSOR_MODE,
    AccessState: PVOID,
    DesiredAccess: ACCESS_MASK,
    ParseContext: PVOID,
    Handle: Out[HANDLE],
) -> NTSTATUS:
    """A handle to a named object, of a type if one is given. Undocumented.

    Source: ReactOS obhandle.c; kmtests ObTypes.c.
    """
    attributes = driver_attributes(nt, ObjectAttributes)
    found = exp_find(nt, attributes)
    if found.parses:
        return obp_open_parsed(nt, found, attributes, int(ObjectType), DesiredAccess, Handle)
    kind = ob_type_at(nt, int(ObjectType)) if ObjectType else None
    if kind is None and not found.status:
        kind = nt.ob.type_of(found.body)
    Handle[0] = 0
    if kind is None:
        return found.status
    status, Handle[0] = exp_open_found(nt, kind, found, attributes, DesiredAccess)
    return status


@export(irql="== PASSIVE")
def ZwCreateSymbolicLinkObject(
    nt: Kernel,
    LinkHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    LinkTarget: PUNICODE_STRING,
) -> NTSTATUS:
    """A symbolic link with a handle, which keeps it; no handle is written if it cannot be made.

    Undocumented. Source: winsiderss/phnt; kmtests ObSymbolicLink.c.
    """
    if not LinkTarget._v.Buffer and LinkTarget._v.Length:
        return ntstatus.STATUS_ACCESS_VIOLATION
    target = read_unicode(nt.mmu, LinkTarget)
    if not target:
        return ntstatus.STATUS_INVALID_PARAMETER
    attributes = driver_attributes(nt, ObjectAttributes)

    def initialize(body: int) -> None:
        ob_initialize_link(nt, body, target)
        if LinkTarget._v.MaximumLength < len(target) * 2 + 2:
            OBJECT_SYMBOLIC_LINK.at(nt.mmu, body)._v.LinkTarget_MaximumLength = len(target) * 2

    kind = nt.ob.types["SymbolicLink"]
    status, LinkHandle[0] = exp_create(
        nt, kind, OBJECT_SYMBOLIC_LINK.size, attributes, DesiredAccess, initialize
    )
    return status


@export(irql="== PASSIVE")
def ZwOpenSymbolicLinkObject(
    nt: Kernel,
    LinkHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
) -> NTSTATUS:
    """A handle to the link itself, not to what it leads to. Source: WDK."""
    attributes = driver_attributes(nt, ObjectAttributes)
    found = exp_find(nt, attributes, follow_last=False)
    kind = nt.ob.types["SymbolicLink"]
    status, LinkHandle[0] = exp_open_found(nt, kind, found, attributes, DesiredAccess)
    return status


@export(irql="== PASSIVE")
def ZwQuerySymbolicLinkObject(
    nt: Kernel, LinkHandle: HANDLE, LinkTarget: PUNICODE_STRING, ReturnedLength: OutOpt[ULONG]
) -> NTSTATUS:
    """Where a link leads: who asks for the length needs room for the terminator and gets it, if the
    link was made with one; others get the text alone.

    Too small: STATUS_BUFFER_TOO_SMALL, the bytes in *ReturnedLength. Source: WDK; kmtests
    ObSymbolicLink.c.
    """
    kind = nt.ob.types["SymbolicLink"]
    status, body, _ = ob_reference_by_handle(nt, LinkHandle, 0, kind, 0)
    if status:
        return status
    target = OBJECT_SYMBOLIC_LINK.at(nt.mmu, body)._v
    length = needed = target.LinkTarget_Length
    if ReturnedLength:
        ReturnedLength[0] = needed = target.LinkTarget_MaximumLength
    v = LinkTarget._v
    if v.MaximumLength < needed:
        status = ntstatus.STATUS_BUFFER_TOO_SMALL
    else:
        nt.mmu.write(v.Buffer, nt.mmu.read(target.LinkTarget_Buffer, needed))
        v.Length = length
    nt.ob.dereference(body)
    return status


def with_name(address: int, text: str, size: int) -> bytes:
    """A UNICODE_STRING, room up to `size`, then its text: what lies at `address`."""
    data = text.encode("utf-16-le")
    if not data:
        return bytes(size)
    header = struct.pack("<HHIQ", len(data), len(data) + 2, 0, address + size)
    return header.ljust(size, b"\0") + data + b"\0\0"


def obp_information(
    nt: Kernel, address: int, kind: int, body: int, granted: int, attributes: int
) -> bytes | None:
    """The answer to a class; None for one that is not documented."""
    if kind == BASIC_INFORMATION:
        v = nt.ob.header(body)._v
        attributes |= v.Flags & FLAG_PERMANENT
        counts = (v.HandleCount, v.PointerCount)
        return struct.pack("<IIII", attributes, granted, *counts).ljust(BASIC_SIZE, b"\0")
    if kind == NAME_INFORMATION:
        return with_name(address, ob_name_of(nt, body), 0x10)
    if kind == TYPE_INFORMATION:
        return with_name(address, nt.ob.type_of(body).name, TYPE_SIZE)
    return None


@export(irql="== PASSIVE")
def ZwQueryObject(
    nt: Kernel,
    Handle: HANDLE,
    ObjectInformationClass: ULONG,
    ObjectInformation: PVOID,
    ObjectInformationLength: ULONG,
    ReturnLength: OutOpt[ULONG],
) -> NTSTATUS:
    """ObjectBasicInformation (0), ObjectNameInformation (1) or ObjectTypeInformation (2).

    Basic information wants exactly its size; too little room is STATUS_INFO_LENGTH_MISMATCH with
    the size in *ReturnLength; another class STATUS_INVALID_INFO_CLASS. Source: WDK ZwQueryObject.
    """
    status, body, granted = ob_reference_by_handle(nt, Handle, 0, None, 0)
    if status:
        return status
    attributes = ob_handle_attributes(nt, Handle)
    data = obp_information(
        nt, ObjectInformation, ObjectInformationClass, body, granted, attributes
    )
    nt.ob.dereference(body)
    if data is None:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    if ReturnLength:
        ReturnLength[0] = len(data)
    exact = ObjectInformationClass == BASIC_INFORMATION
    if ObjectInformationLength < len(data) or (exact and ObjectInformationLength != len(data)):
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    nt.mmu.write(ObjectInformation, data)
    return ntstatus.STATUS_SUCCESS
