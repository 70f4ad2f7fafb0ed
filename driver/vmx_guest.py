"""A VT-x guest as small as it gets: 64-bit code that runs in the kernel's own address space.

eh.py and vmexit_queue.py run their guests through this file; what they do with an exit is theirs.
In the order in which things happen:

    vmx_supported   the processor can, and firmware lets it
    alloc_guest     VMXON region, VMCS region, host stack, guest stack
    vmx_start       CR4.VMXE, VMXON, VMCLEAR, VMPTRLD: on one processor from now on
    vmcs_setup      controls, host state, guest state (in vmcs_setup.py)
                    (VMLAUNCH, exits, VMRESUME)
    vmx_stop        VMCLEAR, VMXOFF, CR4.VMXE off: on that same processor
    free_guest

From vmx_start to vmx_stop everything belongs to one processor: the caller keeps its thread there.
The guest shares CR3, GDT and IDT with Windows and runs with interrupts off; exceptions, HLT and all
port I/O leave it.
Sources: SDM 3, chapters "Introduction to Virtual Machine Extensions", "VM Entries", "VM Exits".
"""

from driver.vmcs import *
from driver.vmcs_setup import DESCRIPTOR_TABLE_REGISTER, GUEST_STACK_SIZE, HOST_STACK_SIZE
from ntsim.intrin import *
from ntsim.wdm import *

VMX_GUEST_TAG = int.from_bytes(b"VmxG", "little")  # 'GxmV': a tag reads backwards in C


class VMX_GUEST(Structure):
    """What a guest needs in memory; virtual addresses."""

    VmxonRegion: PVOID
    VmcsRegion: PVOID
    HostStack: PVOID
    GuestStack: PVOID


class SAVED_STACK(Structure):
    """The slot of save_stack and restore_stack: where the stack pointer is kept."""

    Rsp: ULONG_PTR


class DESCRIPTOR_TABLES(Structure):
    """GDTR and IDTR as Windows has them: VM exits load both limits with 0xFFFF."""

    Gdt: DESCRIPTOR_TABLE_REGISTER
    Idt: DESCRIPTOR_TABLE_REGISTER


def keep_tables():
    """This processor's, before the guest is entered."""
    tables = DESCRIPTOR_TABLES()
    _sgdt(tables.Gdt)
    __sidt(tables.Idt)
    return tables


def put_tables_back(tables) -> None:
    """After the last VM exit: limits of 0xFFFF are a changed GDT, bug check 0x109 in minutes."""
    _lgdt(tables.Gdt)
    __lidt(tables.Idt)


def vmx_supported() -> bool:
    """CPUID has VMX, and firmware has allowed VMXON and locked that in."""
    _, _, ecx, _ = __cpuid(1)
    if not ecx & CPUID_1_ECX_VMX:
        return False
    needed = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON_OUTSIDE_SMX
    return __readmsr(MSR_IA32_FEATURE_CONTROL) & needed == needed


def alloc_guest(guest) -> bool:
    """All of a guest's memory. False if some is lacking; the rest is free_guest's."""
    guest.VmxonRegion = alloc_vmx_region()
    guest.VmcsRegion = alloc_vmx_region()
    guest.HostStack = ExAllocatePoolWithTag(NonPagedPool, HOST_STACK_SIZE, VMX_GUEST_TAG)
    guest.GuestStack = ExAllocatePoolWithTag(NonPagedPool, GUEST_STACK_SIZE, VMX_GUEST_TAG)
    return bool(guest.VmxonRegion and guest.VmcsRegion and guest.HostStack and guest.GuestStack)


def alloc_vmx_region():
    """A zeroed page that starts with the processor's VMCS revision identifier, or NULL."""
    region = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
    if region:
        RtlZeroMemory(region, PAGE_SIZE)  # it comes uninitialised
        cast(region, PULONG)[0] = __readmsr(MSR_IA32_VMX_BASIC) & 0x7FFFFFFF
    return region


def free_guest(guest) -> None:
    """Give back whatever alloc_guest got."""
    for region in (guest.VmxonRegion, guest.VmcsRegion):
        if region:
            MmFreeContiguousMemory(region)
    for stack in (guest.HostStack, guest.GuestStack):
        if stack:
            ExFreePoolWithTag(stack, VMX_GUEST_TAG)
    RtlZeroMemory(guest, sizeof(VMX_GUEST))


def vmx_start(guest) -> int:
    """VMX root operation with the guest's VMCS current, on this processor. Not 0 if that failed."""
    __writecr4(__readcr4() | CR4_VMXE)
    failed = __vmx_on(physical(guest.VmxonRegion))
    if failed:
        return failed  # somebody else's VMX operation keeps its CR4.VMXE
    failed = __vmx_vmclear(physical(guest.VmcsRegion)) or vmcs_load(guest)
    if failed:
        vmx_stop(guest)
    return failed


def vmcs_load(guest) -> int:
    """Make the guest's VMCS the current one of this processor."""
    return __vmx_vmptrld(physical(guest.VmcsRegion))


def vmx_stop(guest) -> None:
    """Leave VMX operation; VMCLEAR first, or the processor may still write the region back."""
    __vmx_vmclear(physical(guest.VmcsRegion))
    __vmx_off()
    __writecr4(__readcr4() & ~CR4_VMXE)


def physical(va) -> int:
    """The physical address of a kernel address."""
    return MmGetPhysicalAddress(va)


def vmread(field) -> int:
    """The field of the current VMCS."""
    _, value = __vmx_vmread(field)
    return value


def skip_instruction() -> None:
    """Move the guest past the instruction that caused the exit."""
    __vmx_vmwrite(GUEST_RIP, vmread(GUEST_RIP) + vmread(VM_EXIT_INSTRUCTION_LEN))
