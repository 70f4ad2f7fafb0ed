"""Pages whose accesses exit: what the exit handler does about them, in root operation.

A hooked page has two PML1 entries to choose from. `Armed` lacks rights, or leads somewhere else;
an access that it forbids is an EPT violation, reported before the instruction has done anything.
`Open` is the page as it is. So one access is let through in three steps:

    HandleEptViolation   note it, put Open in place, set the monitor trap flag
    (the guest)          executes that one instruction
    HandleTrapFlag       put Armed back, clear the flag

One instruction may touch several hooked pages, and each is a violation of its own: `Opened` has a
bit for every page that is open on this processor. Each processor has EPT tables of its own, so the
others stay armed meanwhile.

watch.py and hidden.py make hooks, at PASSIVE_LEVEL. SDM 3, "EPT Violations", "Monitor Trap Flag".
"""

from driver.hypervisor.ept import EPT_ALL, EPT_READ, EPT_WRITE, InvalidateEpt, SetEntry
from driver.hypervisor.fields import *
from driver.hypervisor.monitor import Note
from driver.hypervisor.unexpected import HandleUnexpected
from driver.vmx_guest import vmread
from ntsim.intrin import *
from ntsim.wdm import *

MOST_HOOKS = 8  # as many as there are PML1 tables to split off (ept.py)


class PAGE_HOOK(Structure):
    """Not in use: Access is 0. Page and the two entries are physical."""

    Page: ULONGLONG
    Armed: ULONGLONG
    Open: ULONGLONG
    Access: ULONG  # the kinds of access to report, EPT_READ, EPT_WRITE, EPT_EXECUTE
    Mdl: PVOID  # what keeps an app's page where it is (watch.py)
    Copy: PVOID  # the page that instruction fetches see instead (hidden.py)


Hooks = (PAGE_HOOK * MOST_HOOKS)()


def RightsWithout(Access) -> ULONG:
    """The rights that make these accesses exit. There is no right to write without the one to read:
    such an entry is an EPT misconfiguration (SDM 3, "EPT Misconfigurations")."""
    if Access & EPT_READ:
        Access |= EPT_WRITE
    return EPT_ALL & ~Access


def FindHook(Address) -> LONG:
    """The number of the hook of a guest-physical address; -1 if there is none."""
    for i in range(MOST_HOOKS):
        if Hooks[i].Access and Hooks[i].Page == Address & ~0xFFF:
            return i
    return -1


def ArmHook(Vcpu, i) -> BOOLEAN:
    """From now on it exits on this processor. FALSE: no table is left to split its page off."""
    return PutEntry(Vcpu, i, Hooks[i].Armed)


def DisarmHook(Vcpu, i) -> BOOLEAN:
    Vcpu.Opened &= ~(1 << i)
    return PutEntry(Vcpu, i, Hooks[i].Open)


def PutEntry(Vcpu, i, Entry) -> BOOLEAN:
    """The processor may have cached the old one, whatever memory says: INVEPT."""
    if not SetEntry(Vcpu.Ept, Hooks[i].Page, Entry):
        return FALSE
    InvalidateEpt(Vcpu.Ept)
    return TRUE


def HandleEptViolation(regs, Vcpu) -> None:
    """Bits 2:0 of the qualification: the access; 5:3: what the entries allow."""
    Qualification = vmread(EXIT_QUALIFICATION)
    i = FindHook(vmread(GUEST_PHYSICAL_ADDRESS))
    if i < 0:
        HandleUnexpected(regs, Vcpu)
    if Hooks[i].Access & Qualification:
        Note(Vcpu, EXIT_REASON_EPT_VIOLATION, Qualification, vmread(GUEST_LINEAR_ADDRESS))
    LetThrough(Vcpu, i)


def LetThrough(Vcpu, i) -> None:
    """One instruction sees the page as it is."""
    PutEntry(Vcpu, i, Hooks[i].Open)
    Vcpu.Opened |= 1 << i
    SetTrapFlag(CPU_BASED_MONITOR_TRAP_FLAG)


def HandleTrapFlag(regs, Vcpu) -> None:
    """The instruction is over; a hook that was taken away meanwhile is not in Opened any more."""
    for i in range(MOST_HOOKS):
        if Vcpu.Opened >> i & 1:
            ArmHook(Vcpu, i)
    Vcpu.Opened = 0
    SetTrapFlag(0)


def SetTrapFlag(Flag) -> None:
    Primary = vmread(CPU_BASED_VM_EXEC_CONTROL) & ~CPU_BASED_MONITOR_TRAP_FLAG
    __vmx_vmwrite(CPU_BASED_VM_EXEC_CONTROL, Primary | Flag)
