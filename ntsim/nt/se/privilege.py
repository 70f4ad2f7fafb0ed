"""Privileges: whether a subject holds them, and enabled.

Source: WDK SeSinglePrivilegeCheck, SePrivilegeCheck; ReactOS ntoskrnl/se/priv.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import se as c
from ntsim.abi.rtl import LUID
from ntsim.abi.scalars import BOOLEAN, KPROCESSOR_MODE
from ntsim.abi.se import LUID_AND_ATTRIBUTES, PRIVILEGE_SET
from ntsim.abi.winnt_constants import SecurityImpersonation
from ntsim.nt.exports import export
from ntsim.nt.se.subject import Subject, effective_token

if TYPE_CHECKING:
    from ntsim.abi.ob import PSECURITY_SUBJECT_CONTEXT
    from ntsim.abi.se import PPRIVILEGE_SET
    from ntsim.nt.kernel import Kernel

HEADER = PRIVILEGE_SET.size - LUID_AND_ATTRIBUTES.size


def holds(token: Any, privilege: int) -> bool:
    """Whether a privilege is in a token and enabled."""
    return bool(token._v.Privileges_Enabled >> privilege & 1) if privilege < 64 else False


def luid_value(value: Any) -> int:
    """A LUID passed by value: the number of compiled code, or a variable of Python's."""
    if isinstance(value, LUID):
        return int(value.LowPart) | (int(value.HighPart) & 0xFFFF_FFFF) << 32
    return int(value)


def privilege_set(nt: Kernel, privileges: list[int]) -> int:
    """A PRIVILEGE_SET in pool of privileges that were used; SeFreePrivileges takes it back."""
    size = HEADER + LUID_AND_ATTRIBUTES.size * len(privileges)
    address = nt.allocate_pool(size, "SePr")
    if address:
        data = len(privileges).to_bytes(4, "little") + bytes(4)
        for value in privileges:
            used = c.SE_PRIVILEGE_USED_FOR_ACCESS
            data += value.to_bytes(8, "little") + used.to_bytes(4, "little")
        nt.mmu.write(address, data)
    return address


def single_check(nt: Kernel, privilege: int, mode: int) -> bool:
    """SeSinglePrivilegeCheck of a privilege's number."""
    if not mode:
        return True
    with Subject(nt) as context:
        v = context._v
        if v.ClientToken and v.ImpersonationLevel < SecurityImpersonation:
            return False
        return holds(effective_token(nt, context), privilege)


@export(irql="== PASSIVE")
def SeSinglePrivilegeCheck(
    nt: Kernel, PrivilegeValue: Any, PreviousMode: KPROCESSOR_MODE
) -> BOOLEAN:
    """TRUE if the current thread holds the privilege enabled, or PreviousMode is KernelMode.

    A thread that impersonates below SecurityImpersonation holds none. Source: WDK
    SeSinglePrivilegeCheck; ReactOS ntoskrnl/se/priv.c.
    """
    return single_check(nt, luid_value(PrivilegeValue), PreviousMode)


@export(irql="== PASSIVE")
def SePrivilegeCheck(
    nt: Kernel,
    RequiredPrivileges: PPRIVILEGE_SET,
    SubjectSecurityContext: PSECURITY_SUBJECT_CONTEXT,
    AccessMode: KPROCESSOR_MODE,
) -> BOOLEAN:
    """TRUE if the subject holds one of the privileges, with PRIVILEGE_SET_ALL_NECESSARY all.

    Those it holds are marked SE_PRIVILEGE_USED_FOR_ACCESS. KernelMode: TRUE, nothing marked.
    Source: WDK SePrivilegeCheck.
    """
    if not AccessMode:
        return True
    v = SubjectSecurityContext._v
    if v.ClientToken and v.ImpersonationLevel < SecurityImpersonation:
        return False
    token = effective_token(nt, SubjectSecurityContext)
    number, held = RequiredPrivileges.PrivilegeCount, 0
    for entry in (RequiredPrivileges.Privilege[i] for i in range(number)):
        if holds(token, luid_value(entry.Luid)):
            entry.Attributes |= c.SE_PRIVILEGE_USED_FOR_ACCESS
            held += 1
    everyone = RequiredPrivileges.Control & c.PRIVILEGE_SET_ALL_NECESSARY
    return held == number if everyone else held > 0


@export(irql="== PASSIVE")
def SeFreePrivileges(nt: Kernel, Privileges: PPRIVILEGE_SET) -> None:
    """Give back the set that SeAccessCheck returned. Source: ntifs.h SeFreePrivileges."""
    nt.free_pool(int(Privileges))
