"""Names and handles of objects that a driver has a pointer to.

Source: WDK ObQueryNameString, ObOpenObjectByPointer; Wine ntoskrnl tests test_object_name;
ReactOS kmtests ObType.c for ObReferenceObjectByName.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.io import FILE_OBJECT
from ntsim.abi.ob import OBJECT_NAME_INFORMATION, OBJECT_TYPE
from ntsim.abi.scalars import (
    ACCESS_MASK,
    HANDLE,
    KPROCESSOR_MODE,
    NTSTATUS,
    PVOID,
    ULONG,
)
from ntsim.nt.exports import Out, export
from ntsim.nt.ob.exports import ob_type_at
from ntsim.nt.ob.handles import map_generic
from ntsim.nt.ob.insert import ob_make_handle
from ntsim.nt.ob.namespace import ob_lookup
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.ob.procedures import OPEN_HANDLE, ob_call_parse
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.ob import POBJECT_NAME_INFORMATION
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

HEADER = OBJECT_NAME_INFORMATION.size


NAME_OF_TYPE = OBJECT_TYPE.offset_of("Name")


def ob_type_checked(nt: Kernel, body: int) -> ObjectType:
    """The type of what a driver says is an object; other memory has none, and NULL is followed."""
    kind = nt.ob.type_at(body)
    if kind is None or not nt.ob.is_object(body):
        nt.mmu.read(NAME_OF_TYPE, 8)
        raise AssertionError("the NULL page is mapped")
    return kind


def ob_name_of(nt: Kernel, body: int) -> str:
    """An object's full name; a file's is its device's and what was opened on it."""
    if ob_type_checked(nt, body) is not nt.io.file_type:
        return nt.ob.full_name(body)
    file = FILE_OBJECT.at(nt.mmu, body)
    return nt.ob.full_name(file._v.DeviceObject) + read_unicode(nt.mmu, file.FileName)


@export(irql="<= APC")
def ObQueryNameString(
    nt: Kernel,
    Object: PVOID,
    ObjectNameInfo: POBJECT_NAME_INFORMATION,
    Length: ULONG,
    ReturnLength: Out[ULONG],
) -> NTSTATUS:
    """An object's name behind an OBJECT_NAME_INFORMATION; without name an empty one.

    A buffer that is too small is STATUS_INFO_LENGTH_MISMATCH, *ReturnLength what is needed: the
    structure, the name and its terminator. Source: WDK; Wine test_object_name.
    """
    text = ob_name_of(nt, int(Object)).encode("utf-16-le")
    needed = HEADER + len(text) + 2 if text else HEADER
    ReturnLength[0] = needed
    if Length < needed:
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    v = ObjectNameInfo.Name._v
    v.Length = len(text)
    v.MaximumLength = len(text) + 2 if text else 0
    v.Buffer = int(ObjectNameInfo) + HEADER if text else 0
    if text:
        nt.mmu.write(int(ObjectNameInfo) + HEADER, text + b"\0\0")
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def ObOpenObjectByPointer(
    nt: Kernel,
    Object: PVOID,
    HandleAttributes: ULONG,
    PassedAccessState: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectType: PVOID,
    AccessMode: KPROCESSOR_MODE,
    Handle: Out[HANDLE],
) -> NTSTATUS:
    """A handle to an object, of the current process or with OBJ_KERNEL_HANDLE the system's.

    Another type than ObjectType (NULL: any) is STATUS_OBJECT_TYPE_MISMATCH. Source: WDK.
    """
    Handle[0] = 0
    kind = ob_type_checked(nt, int(Object))
    if ObjectType and ob_type_at(nt, int(ObjectType)) is not kind:
        return ntstatus.STATUS_OBJECT_TYPE_MISMATCH
    access = map_generic(DesiredAccess, kind.generic_mapping)
    made = ob_make_handle(nt, OPEN_HANDLE, int(Object), access, HandleAttributes)
    status, Handle[0] = made
    return status


@export(irql="== PASSIVE")
def ObReferenceObjectByName(
    nt: Kernel,
    ObjectPath: PUNICODE_STRING,
    Attributes: ULONG,
    PassedAccessState: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectType: PVOID,
    AccessMode: KPROCESSOR_MODE,
    ParseContext: PVOID,
    Object: Out[PVOID],
) -> NTSTATUS:
    """A referenced pointer to a named object of a type; a type's parse procedure finds it.

    Undocumented. Source: ReactOS obref.c.
    """
    Object[0] = 0
    path = read_unicode(nt.mmu, ObjectPath)
    found = ob_lookup(nt, path)
    if found.status:
        return found.status
    if nt.ob.type_of(found.body).v.TypeInfo_ParseProcedure:
        status, Object[0] = ob_call_parse(
            nt, found.body, int(ObjectType), path, found.remaining, Attributes, int(ParseContext)
        )
        return status
    if found.remaining:
        return ntstatus.STATUS_OBJECT_PATH_NOT_FOUND
    if ObjectType and ob_type_at(nt, int(ObjectType)) is not nt.ob.type_of(found.body):
        return ntstatus.STATUS_OBJECT_TYPE_MISMATCH
    nt.ob.reference(found.body)
    Object[0] = found.body
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def ObGetObjectType(nt: Kernel, Object: PVOID) -> PVOID:
    """The OBJECT_TYPE of an object. Undocumented, exported. Source: winsiderss/phnt."""
    return ob_type_checked(nt, int(Object)).va
