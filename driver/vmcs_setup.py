"""Filling in a VMCS for the guest of vmx_guest.py: controls, host state, guest state.

Each *_fields routine returns a list of (field, value); vmcs_setup writes them all to the current
VMCS. VM entry checks every one of them (SDM 3, "VM Entries"), and what is not written is whatever
the region held, so nothing that an entry depends on is left out, not even zeros. Segments,
descriptor tables and MSRs are those of the processor that executes this.
"""

from driver.vmcs import *
from ntsim.intrin import *
from ntsim.wdm import *

HOST_STACK_SIZE = 0x6000  # bytes, as much as a kernel thread has
GUEST_STACK_SIZE = 0x1000

# The selectors of x64 Windows. A VM exit wants the RPL and TI bits of the host's to be 0.
R3_DATA, R0_CODE, R0_DATA, R3_TEB, SYSTEM_TSS = 0x2B, 0x10, 0x18, 0x53, 0x40
SEGMENT_SELECTORS = (R3_DATA, R0_CODE, R0_DATA, R3_DATA, R3_TEB, R3_DATA)  # ES CS SS DS FS GS
UNUSABLE = 1 << 16


class DESCRIPTOR_TABLE_REGISTER(Structure):
    """What SGDT and SIDT store: ten bytes, the base not aligned."""

    Limit: USHORT
    Base: USHORT * 4


def vmcs_setup(guest, entry_point, exit_routine) -> int:
    """Fill the current VMCS: the guest starts at entry_point, exits go to exit_routine."""
    return (
        write_fields(control_fields())
        or write_fields(host_fields(guest, exit_routine))
        or write_fields(guest_fields(guest, entry_point))
        or write_fields(segment_fields())
    )


def write_fields(fields) -> int:
    """VMWRITE each (field, value); stops at the first one that fails and returns its status."""
    for field, value in fields:
        failed = __vmx_vmwrite(field, value)
        if failed:
            return failed
    return 0


def control_fields():
    """When the guest exits, and how entries and exits work; what we leave out is written as 0."""
    true = 0xC if __readmsr(MSR_IA32_VMX_BASIC) & VMX_BASIC_TRUE_CTLS else 0
    primary = CPU_BASED_HLT_EXITING | CPU_BASED_UNCOND_IO_EXITING
    pin_based = adjust_controls(0, MSR_IA32_VMX_PINBASED_CTLS + true)
    primary = adjust_controls(primary, MSR_IA32_VMX_PROCBASED_CTLS + true)
    vm_exit = adjust_controls(VM_EXIT_HOST_ADDRESS_SPACE_SIZE, MSR_IA32_VMX_EXIT_CTLS + true)
    vm_entry = adjust_controls(VM_ENTRY_IA32E_MODE_GUEST, MSR_IA32_VMX_ENTRY_CTLS + true)
    return [
        (PIN_BASED_VM_EXEC_CONTROL, pin_based),
        (CPU_BASED_VM_EXEC_CONTROL, primary),
        (VM_EXIT_CONTROLS, vm_exit),
        (VM_ENTRY_CONTROLS, vm_entry),
        (EXCEPTION_BITMAP, 0xFFFFFFFF),  # a guest that faults leaves; Windows' IDT never sees it
        (PAGE_FAULT_ERROR_CODE_MASK, 0),
        (PAGE_FAULT_ERROR_CODE_MATCH, 0),
        (CR3_TARGET_COUNT, 0),
        (VM_EXIT_MSR_STORE_COUNT, 0),
        (VM_EXIT_MSR_LOAD_COUNT, 0),
        (VM_ENTRY_MSR_LOAD_COUNT, 0),
        (VM_ENTRY_INTR_INFO_FIELD, 0),
        (TSC_OFFSET, 0),
        (CR0_GUEST_HOST_MASK, 0),
        (CR4_GUEST_HOST_MASK, 0),
        (CR0_READ_SHADOW, 0),
        (CR4_READ_SHADOW, 0),
    ]


def adjust_controls(wanted, msr) -> int:
    """`wanted` with the bits that must be 1 (low half of the MSR), without those that must be 0."""
    capability = __readmsr(msr)
    return (wanted | capability & 0xFFFFFFFF) & capability >> 32


def host_fields(guest, exit_routine):
    """What a VM exit loads: this processor as it is now, our own stack, our exit routine."""
    gdt, _ = descriptor_table(_sgdt)
    idt, _ = descriptor_table(__sidt)
    tss, _, _ = descriptor(gdt, SYSTEM_TSS)
    selectors = [
        (HOST_ES_SELECTOR + 2 * i, selector & ~7) for i, selector in enumerate(SEGMENT_SELECTORS)
    ]
    return [
        *selectors,
        (HOST_TR_SELECTOR, SYSTEM_TSS),
        (HOST_CR0, __readcr0()),
        (HOST_CR3, __readcr3()),
        (HOST_CR4, __readcr4()),
        (HOST_FS_BASE, __readmsr(MSR_FS_BASE)),
        (HOST_GS_BASE, __readmsr(MSR_GS_BASE)),
        (HOST_TR_BASE, tss),
        (HOST_GDTR_BASE, gdt),
        (HOST_IDTR_BASE, idt),
        (HOST_SYSENTER_CS, __readmsr(MSR_IA32_SYSENTER_CS)),
        (HOST_SYSENTER_ESP, __readmsr(MSR_IA32_SYSENTER_ESP)),
        (HOST_SYSENTER_EIP, __readmsr(MSR_IA32_SYSENTER_EIP)),
        (HOST_RSP, guest.HostStack + HOST_STACK_SIZE - 16),
        (HOST_RIP, exit_routine),
    ]


def guest_fields(guest, entry_point):
    """Registers and non-register state: as the host's, but for RIP, RSP and RFLAGS."""
    return [
        (GUEST_CR0, __readcr0()),
        (GUEST_CR3, __readcr3()),
        (GUEST_CR4, __readcr4()),
        (GUEST_DR7, 0x400),
        (GUEST_RIP, entry_point),
        (GUEST_RSP, guest.GuestStack + GUEST_STACK_SIZE - 16),
        (GUEST_RFLAGS, 2),  # interrupts off: Windows' handlers must not run inside the guest
        (GUEST_SYSENTER_CS, __readmsr(MSR_IA32_SYSENTER_CS)),
        (GUEST_SYSENTER_ESP, __readmsr(MSR_IA32_SYSENTER_ESP)),
        (GUEST_SYSENTER_EIP, __readmsr(MSR_IA32_SYSENTER_EIP)),
        (GUEST_IA32_DEBUGCTL, 0),
        (GUEST_PENDING_DBG_EXCEPTIONS, 0),
        (GUEST_ACTIVITY_STATE, 0),
        (GUEST_INTERRUPTIBILITY_STATE, 0),
        (VMCS_LINK_POINTER, MAXULONG64),
    ]


def segment_fields():
    """The guest's segments and descriptor tables, from the host's GDT."""
    gdt, gdt_limit = descriptor_table(_sgdt)
    idt, idt_limit = descriptor_table(__sidt)
    fields = []
    for i, selector in enumerate(SEGMENT_SELECTORS):
        fields += segment(2 * i, selector, *descriptor(gdt, selector))
    fields += segment(GUEST_LDTR_SELECTOR - GUEST_ES_SELECTOR, 0, 0, 0, UNUSABLE)
    fields += segment(
        GUEST_TR_SELECTOR - GUEST_ES_SELECTOR, SYSTEM_TSS, *descriptor(gdt, SYSTEM_TSS)
    )
    return [
        *fields,
        (GUEST_FS_BASE, __readmsr(MSR_FS_BASE)),  # 64-bit bases are in MSRs, not in the GDT
        (GUEST_GS_BASE, __readmsr(MSR_GS_BASE)),
        (GUEST_GDTR_BASE, gdt),
        (GUEST_GDTR_LIMIT, gdt_limit),
        (GUEST_IDTR_BASE, idt),
        (GUEST_IDTR_LIMIT, idt_limit),
    ]


def segment(which, selector, base, limit, rights):
    """The four fields of the segment register `which` (0 is ES, 2 CS and so on)."""
    return [
        (GUEST_ES_SELECTOR + which, selector),
        (GUEST_ES_BASE + which, base),
        (GUEST_ES_LIMIT + which, limit),
        (GUEST_ES_AR_BYTES + which, rights),
    ]


def descriptor_table(store):
    """Base and limit of the GDT or IDT; `store` is _sgdt or __sidt."""
    register = DESCRIPTOR_TABLE_REGISTER()
    store(register)
    return int.from_bytes(read_bytes(register.Base, 8), "little"), register.Limit


def descriptor(gdt, selector):
    """Base, limit in bytes and access rights of a GDT entry, in the VMCS's form.

    SDM 3, "Segment Descriptors" and "TSS Descriptor in 64-bit mode": a system descriptor (S = 0)
    has 16 bytes, bits 63:32 of its base in the third four.
    """
    entry = cast(gdt + (selector & ~7), PULONGLONG)
    low = entry[0]
    base = low >> 16 & 0xFFFFFF | low >> 56 << 24
    if not low >> 44 & 1:
        base |= (entry[1] & 0xFFFFFFFF) << 32
    limit = low & 0xFFFF | low >> 32 & 0xF0000
    if low >> 55 & 1:
        limit = limit << 12 | 0xFFF
    return base, limit, low >> 40 & 0xF0FF
