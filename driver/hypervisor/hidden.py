"""A breakpoint that nobody can read: a page for execution only, with another page behind it.

EPT has separate rights to read and to execute. The page of a kernel routine is copied, INT3 (0xCC)
is written over the routine's first byte in the copy, and the page's entry leads to the copy with
the right to execute alone. Fetched there is the breakpoint: #BP, an exit by the exception bitmap.
Whoever reads or writes the page gets an EPT violation, and LetThrough shows the original for that
one instruction; patch protection, which reads the kernel's code, finds it as it was.

To go on from the breakpoint the original is shown for one instruction too, the one that the INT3
stands for. So the copy is armed again before the routine's second instruction, nothing has to be
emulated, and no byte of the routine has to be understood.

In this simulation the kernel's routines are machine code only where compiled drivers call them; a
Python driver's call fetches nothing.
"""

from driver.hypervisor.ept import EPT_ALL, EPT_EXECUTE, LeafEntry
from driver.hypervisor.fields import *
from driver.hypervisor.hooks import MOST_HOOKS, Hooks, LetThrough
from driver.hypervisor.monitor import Note
from driver.hypervisor.watch import ArmEverywhere, FreeHook, IsHooked
from driver.vmx_guest import vmread
from ntsim.intrin import *
from ntsim.wdm import *

INT3 = b"\xcc"


class BREAKPOINTS(Structure):
    """The address of each hook's breakpoint."""

    Address: ULONGLONG * MOST_HOOKS


bp = BREAKPOINTS()


def HideBreakpoint(Name):
    """(status, number of the hook, the routine's address)."""
    i, Address = FreeHook(), MmGetSystemRoutineAddress(UNICODE_STRING(Name))
    if i < 0:
        return STATUS_INSUFFICIENT_RESOURCES, 0, 0
    if not __readmsr(MSR_IA32_VMX_EPT_VPID_CAP) & EPT_CAP_EXECUTE_ONLY:
        return STATUS_NOT_SUPPORTED, 0, 0
    Page = MmGetPhysicalAddress(Address) & ~0xFFF if Address else 0
    if not Page:
        return STATUS_NOT_FOUND, 0, 0
    if IsHooked(Page):
        return STATUS_DEVICE_BUSY, 0, 0
    Copy = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
    if Copy == NULL:
        return STATUS_INSUFFICIENT_RESOURCES, 0, 0
    RtlCopyMemory(Copy, Address & ~0xFFF, PAGE_SIZE)
    write_bytes(Copy + (Address & 0xFFF), INT3)
    bp.Address[i] = Address
    Hook = Hooks[i]
    Hook.Page, Hook.Mdl, Hook.Copy = Page, NULL, Copy
    Hook.Open = LeafEntry(Page, EPT_ALL)
    Hook.Armed = LeafEntry(MmGetPhysicalAddress(Copy), EPT_EXECUTE)
    Hook.Access = EPT_ALL
    return ArmEverywhere(i), i, Address


def HandleException(regs, Vcpu) -> None:
    """#BP: ours, or the guest's own, which it gets. Nothing else is in the exception bitmap.

    RCX is the routine's first argument, and RSP leads to where it was called; the stack of code
    that runs in kernel mode is resident, and mapped in every address space.
    """
    Rip = vmread(GUEST_RIP)
    i = BreakpointAt(Rip)
    if i < 0:
        InjectBreakpoint()
        return
    Caller = cast(vmread(GUEST_RSP), PULONGLONG)[0]
    Note(Vcpu, EXIT_REASON_EXCEPTION_NMI, regs.Rcx, Caller)
    LetThrough(Vcpu, i)


def BreakpointAt(Rip) -> LONG:
    for i in range(MOST_HOOKS):
        if Hooks[i].Access and Hooks[i].Copy and bp.Address[i] == Rip:
            return i
    return -1


def InjectBreakpoint() -> None:
    """INT3 is a software exception: its delivery needs the instruction's length."""
    __vmx_vmwrite(VM_ENTRY_INTR_INFO_FIELD, INJECT_BP)
    __vmx_vmwrite(VM_ENTRY_INSTRUCTION_LEN, vmread(VM_EXIT_INSTRUCTION_LEN))
