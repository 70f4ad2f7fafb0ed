"""A driver's own object types, and objects of them.

Undocumented but for ObInsertObject, exported, and used by those who make their own kind of handle.
A type cannot be deleted. Source: ntifs.h ObInsertObject; ReactOS kmtests ObType.c,
ntoskrnl/ob/oblife.c, obhandle.c; winsiderss phnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ke import KEVENT
from ntsim.abi.ob import OBJECT_TYPE, OBJECT_TYPE_INITIALIZER, SECURITY_SUBJECT_CONTEXT
from ntsim.abi.scalars import ACCESS_MASK, HANDLE, KPROCESSOR_MODE, NTSTATUS, PVOID, ULONG
from ntsim.abi.wdm_constants import OBJ_OPENIF, OBJ_PERMANENT, OBJ_VALID_ATTRIBUTES
from ntsim.nt.ex.arguments import Attributes, in_kernel_mode, read_attributes
from ntsim.nt.ex.named import exp_find
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.ke.objects import KeInitializeEvent
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.ob.handles import map_generic
from ntsim.nt.ob.insert import ob_make_handle
from ntsim.nt.ob.namespace import Found, ob_drop_name
from ntsim.nt.ob.objects import ObjectType as Type
from ntsim.nt.ob.procedures import CREATE_HANDLE, MAINTAIN_HANDLE_COUNT, OPEN_HANDLE
from ntsim.nt.ps.quota import NONPAGED, PAGED, psp_charge, psp_return
from ntsim.nt.rtl.text import read_unicode
from ntsim.nt.se.assign import Request, sep_assign
from ntsim.nt.se.object_security import obp_descriptor
from ntsim.nt.se.subject import Subject, effective_token

if TYPE_CHECKING:
    from ntsim.abi.ob import POBJECT_TYPE_INITIALIZER
    from ntsim.abi.rtl import POBJECT_ATTRIBUTES, PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

UNNAMED_ONLY, USE_DEFAULT_OBJECT, SECURITY_REQUIRED = 2, 4, 8
"""Bits of ObjectTypeFlags."""
PAGED_POOL, SYNCHRONIZE, NOTIFICATION = 1, 0x10_0000, 0
ASSIGN_SECURITY = 3
"""SECURITY_OPERATION_CODE AssignSecurityDescriptor."""
MAX_TYPES = 254
TYPE_INFO = OBJECT_TYPE.offset_of("TypeInfo")


@dataclass(eq=False, slots=True)
class Created:
    """What hangs on an object until it is inserted, and its charges until it goes."""

    attributes: Attributes
    security: int
    charges: tuple[int, int]
    """Bytes of nonpaged and paged pool."""
    inserted: bool = False
    payer: int = 0
    """The process that was charged."""


def obp_default_object(nt: Kernel) -> int:
    """nt!ObpDefaultObject: an event that is always signalled, for types whose objects cannot be."""
    at = mi_variable(nt, "ObpDefaultObject", KEVENT.size)
    KeInitializeEvent(nt, KEVENT.at(nt.mmu, at), NOTIFICATION, True)
    return at


def obp_delete_created(nt: Kernel, body: int) -> None:
    """The charges go back to who paid them, whose process the object does not keep alive."""
    made = nt.ob.bodies[body]
    if made.payer and made.payer in nt.ps.by_address:
        for kind, amount in zip((NONPAGED, PAGED), made.charges, strict=True):
            psp_return(nt, made.payer, kind, amount)


def invalid_initializer(v: Any) -> bool:
    """What ObCreateObjectType refuses in an OBJECT_TYPE_INITIALIZER."""
    counts = v.ObjectTypeFlags & MAINTAIN_HANDLE_COUNT
    return bool(
        v.Length != OBJECT_TYPE_INITIALIZER.size
        or v.InvalidAttributes & ~OBJ_VALID_ATTRIBUTES
        or (counts and not (v.OpenProcedure or v.CloseProcedure))
        or (not v.ObjectTypeFlags & USE_DEFAULT_OBJECT and v.PoolType & PAGED_POOL)
    )  # fmt: skip


@export(irql="== PASSIVE")
def ObCreateObjectType(
    nt: Kernel,
    TypeName: PUNICODE_STRING,
    ObjectTypeInitializer: POBJECT_TYPE_INITIALIZER,
    SecurityDescriptor: PVOID,
    ObjectType: Out[PVOID],
) -> NTSTATUS:
    """A new type of objects, with the procedures that the initializer names.

    STATUS_INVALID_PARAMETER for no or an odd name, an initializer of another length, one that
    counts handles without open or close procedure, or pageable objects that can be waited for;
    STATUS_OBJECT_NAME_INVALID for a backslash, STATUS_OBJECT_NAME_COLLISION for a type that exists.
    """
    if not TypeName or not ObjectTypeInitializer:
        return ntstatus.STATUS_INVALID_PARAMETER
    length, v = TypeName._v.Length, ObjectTypeInitializer._v
    if not length or length & 1 or invalid_initializer(v):
        return ntstatus.STATUS_INVALID_PARAMETER
    name = read_unicode(nt.mmu, TypeName)
    if "\\" in name:
        return ntstatus.STATUS_OBJECT_NAME_INVALID
    if name.lower() in {known.lower() for known in nt.ob.types}:
        return ntstatus.STATUS_OBJECT_NAME_COLLISION
    if len(nt.ob.types) >= MAX_TYPES:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    m = ObjectTypeInitializer.GenericMapping._v
    mapping = (m.GenericRead, m.GenericWrite, m.GenericExecute, m.GenericAll)
    default = v.ObjectTypeFlags & USE_DEFAULT_OBJECT
    made = Type(name, mapping, v.ValidAccessMask, waitable_offset=None if default else 0)
    made.close, made.delete = ob_drop_name, obp_delete_created
    nt.ob.add_type(made)
    nt.mmu.write(
        made.va + TYPE_INFO,
        nt.mmu.read(int(ObjectTypeInitializer), OBJECT_TYPE_INITIALIZER.size),
    )
    if default:
        made.v.TypeInfo_ValidAccessMask |= SYNCHRONIZE
        made.v.DefaultObject = obp_default_object(nt)
    ObjectType[0] = made.va
    return ntstatus.STATUS_SUCCESS


def charges_of(v: Any, nonpaged: int, paged: int, size: int, header: int) -> tuple[int, int]:
    """Bytes of nonpaged and paged pool an object costs: as asked, the type's, or its size."""
    in_paged = v.TypeInfo_PoolType & PAGED_POOL
    return (
        nonpaged or v.TypeInfo_DefaultNonPagedPoolCharge or (0 if in_paged else header + size),
        paged or v.TypeInfo_DefaultPagedPoolCharge or (header + size if in_paged else 0),
    )


@export(irql="== PASSIVE")
def ObCreateObject(
    nt: Kernel,
    ProbeMode: KPROCESSOR_MODE,
    ObjectType: PVOID,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    OwnershipMode: KPROCESSOR_MODE,
    ParseContext: PVOID,
    ObjectBodySize: ULONG,
    PagedPoolCharge: ULONG,
    NonPagedPoolCharge: ULONG,
    Object: Out[PVOID],
) -> NTSTATUS:
    """A zeroed object with one reference, for ObInsertObject to enter under its name.

    Its pool block has the type's name as tag. STATUS_INVALID_PARAMETER for no type or attributes
    that the type forbids, STATUS_OBJECT_NAME_INVALID for a name it may not have.
    """
    kind = next((each for each in nt.ob.types.values() if each.va == ObjectType), None)
    if kind is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    v = kind.v
    address = int(ObjectAttributes)
    if ProbeMode:
        attributes = read_attributes(nt, address)
    else:
        attributes = in_kernel_mode(nt, read_attributes, address)
    if attributes.flags & v.TypeInfo_InvalidAttributes:
        return ntstatus.STATUS_INVALID_PARAMETER
    if attributes.name and v.TypeInfo_ObjectTypeFlags & UNNAMED_ONLY:
        return ntstatus.STATUS_OBJECT_NAME_INVALID
    security = ObjectAttributes._v.SecurityDescriptor if ObjectAttributes else 0
    charges = charges_of(v, NonPagedPoolCharge, PagedPoolCharge, ObjectBodySize, 0x50)
    made = Created(attributes, security, charges)
    tag = v.Key.to_bytes(4, "little").decode("latin-1")
    paged = bool(v.TypeInfo_PoolType & PAGED_POOL)
    body = nt.ob.create(kind, ObjectBodySize, made, tag, paged)
    if not body:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    Object[0] = body
    return ntstatus.STATUS_SUCCESS


def obp_assign_security(nt: Kernel, kind: Type, body: int, parent: int, own: int) -> int:
    """Give a new object its descriptor, by the type's security procedure if it has one."""
    info = OBJECT_TYPE.at(nt.mmu, kind.va).TypeInfo
    with Subject(nt) as context:
        assert isinstance(context, SECURITY_SUBJECT_CONTEXT)
        request = Request(parent, own, 0, effective_token(nt, context))
        status, made = sep_assign(nt, request, False, info.GenericMapping)
    if status:
        return status
    routine = info._v.SecurityProcedure
    if not routine:
        nt.ob.header(body)._v.SecurityDescriptor = made
        return status
    slot = int(nt.ob.header(body)) + 0x28
    mode, pool = nt.thread.v.PreviousMode, info._v.PoolType
    arguments = (0, made, 0, slot, pool, info.GenericMapping, mode)
    return nt.call(routine, body, ASSIGN_SECURITY, *arguments) & 0xFFFF_FFFF


def obp_enter(nt: Kernel, kind: Type, body: int, found: Found | None, made: Created) -> int:
    """Name a new object and secure it."""
    required = kind.v.TypeInfo_ObjectTypeFlags & SECURITY_REQUIRED
    if found is not None:
        nt.ob.attach_name(body, found.directory, found.name, held=True)
        if made.attributes.flags & OBJ_PERMANENT:
            nt.ob.make_permanent(body)
    if not (required or found is not None or made.security):
        return ntstatus.STATUS_SUCCESS
    parent = obp_descriptor(nt, found.directory) if found is not None else 0
    return obp_assign_security(nt, kind, body, parent, made.security)


def obp_insert(
    nt: Kernel, body: int, made: Created, access: int, wanted: bool
) -> tuple[int, int, int]:
    """(status, handle, the object: the new one or with OBJ_OPENIF an old one)."""
    kind, flags = nt.ob.type_of(body), made.attributes.flags
    found = exp_find(nt, made.attributes) if made.attributes.name else None
    granted = map_generic(access, kind.generic_mapping)
    if found is not None and not found.status:
        if not flags & OBJ_OPENIF:
            return ntstatus.STATUS_OBJECT_NAME_COLLISION, 0, 0
        if nt.ob.type_of(found.body) is not kind:
            return ntstatus.STATUS_OBJECT_TYPE_MISMATCH, 0, 0
        status, handle = ob_make_handle(nt, OPEN_HANDLE, found.body, granted, flags)
        return status or ntstatus.STATUS_OBJECT_NAME_EXISTS, handle, found.body
    if found is not None and not (found.directory and found.name):
        return found.status, 0, 0
    status = obp_enter(nt, kind, body, found, made)
    if status:
        nt.ob.remove_name(body)
        return status, 0, 0
    made.payer = nt.ps.current_process().va
    for pool, amount in zip((NONPAGED, PAGED), made.charges, strict=True):
        psp_charge(nt, made.payer, pool, amount)
    if not wanted:
        return ntstatus.STATUS_SUCCESS, 0, body
    status, handle = ob_make_handle(nt, CREATE_HANDLE, body, granted, flags)
    if status:
        nt.ob.remove_name(body)
    return status, handle, body


@export(irql="== PASSIVE")
def ObInsertObject(
    nt: Kernel,
    Object: PVOID,
    PassedAccessState: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectPointerBias: ULONG,
    NewObject: OutOpt[PVOID],
    Handle: OutOpt[HANDLE],
) -> NTSTATUS:
    """Enter an object of ObCreateObject under its name, secure it and make a handle.

    The reference of ObCreateObject is given up, whatever happens; ObjectPointerBias says how many
    *NewObject shall have. A name that exists is STATUS_OBJECT_NAME_COLLISION, with OBJ_OPENIF
    opened: STATUS_OBJECT_NAME_EXISTS. A second insertion is STATUS_INVALID_PARAMETER.
    """
    body = int(Object)
    made = nt.ob.bodies.get(body)
    if not isinstance(made, Created) or made.inserted:
        nt.ob.dereference(body)
        return ntstatus.STATUS_INVALID_PARAMETER
    made.inserted = True
    status, handle, entered = obp_insert(nt, body, made, DesiredAccess, bool(Handle))
    if entered and not ntstatus.NT_ERROR(status):
        if ObjectPointerBias:
            nt.ob.reference(entered, ObjectPointerBias)
        if NewObject:
            NewObject[0] = entered
    if Handle:
        Handle[0] = handle
    if handle or ntstatus.NT_ERROR(status) or entered != body:
        nt.ob.dereference(body)
    return status
