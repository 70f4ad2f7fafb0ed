"""ACCESS_STATE: what an open wants, what it was granted, with which privileges.

It travels in IO_SECURITY_CONTEXT with IRP_MJ_CREATE. Source: WDK "ACCESS_STATE"; ReactOS
ntoskrnl/se/access.c SeCreateAccessState, ntoskrnl/se/priv.c SeAppendPrivileges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ob import ACCESS_STATE
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, NTSTATUS, PVOID
from ntsim.abi.se import LUID_AND_ATTRIBUTES, PRIVILEGE_SET, TOKEN
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.se.privilege import HEADER, luid_value
from ntsim.nt.se.subject import sep_capture, sep_release
from ntsim.nt.se.token import TOKEN_HAS_TRAVERSE_PRIVILEGE

if TYPE_CHECKING:
    from ntsim.abi.ob import PACCESS_STATE
    from ntsim.abi.se import PGENERIC_MAPPING, PPRIVILEGE_SET
    from ntsim.nt.kernel import Kernel

AUX_SIZE = 0xE0
"""AUX_ACCESS_DATA: PrivilegesUsed, then the GENERIC_MAPPING; the rest is of no use here."""
PRIVILEGES = 0x50
INITIAL_PRIVILEGES = 3
"""ACCESS_STATE has room for three privileges at this offset (INITIAL_PRIVILEGE_SET)."""


def map_generic_mask(access: int, mapping: Any) -> int:
    """RtlMapGenericMask of a number."""
    v = mapping._v
    rights = (v.GenericRead, v.GenericWrite, v.GenericExecute, v.GenericAll)
    for bit, specific in zip((1 << 31, 1 << 30, 1 << 29, 1 << 28), rights, strict=True):
        if access & bit:
            access = access & ~bit | specific
    return access


def sep_create_access_state(nt: Kernel, at: int, aux: int, access: int) -> Any:
    """Fill the ACCESS_STATE at `at`, its AUX_ACCESS_DATA at `aux`, for the current thread."""
    nt.mmu.write(at, bytes(ACCESS_STATE.size))
    nt.mmu.write(aux, bytes(AUX_SIZE))
    state = ACCESS_STATE.at(nt.mmu, at)
    v = state._v
    process = nt.ps.current_process().va
    sep_capture(nt, state.SubjectSecurityContext, nt.thread.va, process)
    token = v.SubjectSecurityContext_ClientToken or v.SubjectSecurityContext_PrimaryToken
    v.Flags = TOKEN.at(nt.mmu, token)._v.TokenFlags & TOKEN_HAS_TRAVERSE_PRIVILEGE
    v.OperationID_LowPart = nt.se.new_luid()
    v.RemainingDesiredAccess = v.OriginalDesiredAccess = access
    v.AuxData = aux
    nt.write_pointer(aux, at + PRIVILEGES)
    return state


def sep_delete_access_state(nt: Kernel, state: Any) -> None:
    """Release what the state holds; its memory is the owner's."""
    v = state._v
    if v.PrivilegesAllocated:
        nt.free_pool(nt.read_pointer(v.AuxData))
    sep_release(nt, state.SubjectSecurityContext)


def append_privileges(nt: Kernel, state: Any, more: list[tuple[int, int]]) -> bool:
    """Add (LUID, attributes) to the used privileges; False if memory is short."""
    v = state._v
    used = PRIVILEGE_SET.at(nt.mmu, nt.read_pointer(v.AuxData))
    count = used._v.PrivilegeCount
    if count + len(more) > INITIAL_PRIVILEGES:
        old = int(used)
        size = LUID_AND_ATTRIBUTES.size
        block = nt.allocate_pool(HEADER + size * (count + len(more)), "SePs")
        if not block:
            return False
        nt.mmu.write(block, nt.mmu.read(old, HEADER + size * count))
        if v.PrivilegesAllocated:
            nt.free_pool(old)
        v.PrivilegesAllocated = 1
        nt.write_pointer(v.AuxData, block)
        used = PRIVILEGE_SET.at(nt.mmu, block)
    for index, (luid, attributes) in enumerate(more, count):
        entry = int(used) + HEADER + LUID_AND_ATTRIBUTES.size * index
        nt.mmu.write(entry, luid.to_bytes(8, "little") + attributes.to_bytes(4, "little"))
    used._v.PrivilegeCount = count + len(more)
    return True


@export(irql="<= APC")
def RtlMapGenericMask(
    nt: Kernel, AccessMask: OutOpt[ACCESS_MASK], GenericMapping: PGENERIC_MAPPING
) -> None:
    """Replace the generic rights of *AccessMask by an object type's own. Source: ntifs.h."""
    AccessMask[0] = map_generic_mask(AccessMask[0], GenericMapping)


@export(irql="any")
def RtlAreAllAccessesGranted(
    nt: Kernel, GrantedAccess: ACCESS_MASK, DesiredAccess: ACCESS_MASK
) -> BOOLEAN:
    """Whether every right of DesiredAccess is granted. Source: ntifs.h; Wine ntdll tests rtl.c."""
    return not DesiredAccess & ~GrantedAccess


@export(irql="any")
def RtlAreAnyAccessesGranted(
    nt: Kernel, GrantedAccess: ACCESS_MASK, DesiredAccess: ACCESS_MASK
) -> BOOLEAN:
    """Whether one right of DesiredAccess is granted. Source: ntifs.h; Wine ntdll tests rtl.c."""
    return bool(DesiredAccess & GrantedAccess)


@export(irql="== PASSIVE")
def SeAppendPrivileges(
    nt: Kernel, AccessState: PACCESS_STATE, Privileges: PPRIVILEGE_SET
) -> NTSTATUS:
    """Add used privileges to an access state; beyond three the set moves to pool of its own.

    Source: ntifs.h SeAppendPrivileges; ReactOS ntoskrnl/se/priv.c.
    """
    more = (Privileges.Privilege[i] for i in range(Privileges.PrivilegeCount))
    entries = [(luid_value(entry.Luid), int(entry.Attributes)) for entry in more]
    if not append_privileges(nt, AccessState, entries):
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def SeCreateAccessState(
    nt: Kernel,
    AccessState: PACCESS_STATE,
    AuxData: PVOID,
    Access: ACCESS_MASK,
    GenericMapping: PGENERIC_MAPPING,
) -> NTSTATUS:
    """An access state for the current thread; AuxData is 0xE0 bytes of the caller's.

    Undocumented. Source: winsiderss/phnt; ReactOS ntoskrnl/se/access.c.
    """
    access = map_generic_mask(Access, GenericMapping) if GenericMapping else Access
    sep_create_access_state(nt, int(AccessState), AuxData, access)
    if GenericMapping:
        nt.mmu.write(AuxData + 8, nt.mmu.read(int(GenericMapping), 16))
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def SeDeleteAccessState(nt: Kernel, AccessState: PACCESS_STATE) -> None:
    """Release an access state that SeCreateAccessState filled. Undocumented. Source: as above."""
    sep_delete_access_state(nt, AccessState)


@export(irql="== PASSIVE")
def SeSetAccessStateGenericMapping(
    nt: Kernel, AccessState: PACCESS_STATE, GenericMapping: PGENERIC_MAPPING
) -> None:
    """Keep the mapping in the auxiliary data. Source: ntifs.h."""
    nt.mmu.write(AccessState._v.AuxData + 8, nt.mmu.read(int(GenericMapping), 16))
