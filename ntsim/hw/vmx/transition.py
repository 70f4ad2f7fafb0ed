"""Moving a processor's state between the VMCS and its registers.

Source: SDM 3, "Loading Guest State" (VM entry), "Saving Guest State" and "Loading Host State"
(VM exit). The checks have been made when a function here runs; nothing can fail.
"""

from typing import NamedTuple

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry.guest_segments import Fields, fields_of
from ntsim.hw.vmx.protocols import Segment, VmcsFields, VmxProcessor
from ntsim.hw.vmx.vmcs import Vmcs

CR0_KEPT = 0x7FFA_FFD0
"""ET, NW, CD, and the reserved bits 28:19, 17 and 15:6 keep their values on loads of CR0."""

RFLAGS_RESET = 0x2
DR7_RESET = 0x400
_DR7_CLEARED = 1 << 12 | 1 << 14 | 1 << 15
TABLE_LIMIT = 0xFFFF
_AR_CODE_64, _AR_CODE_32 = 0xA09B, 0xC09B
_AR_DATA = 0xC093
_AR_TSS = 0x8B
_TSS_LIMIT = 0x67
_FLAT_LIMIT = 0xFFFF_FFFF

SEGMENTS = tuple(
    (name.lower(), fields_of(name)) for name in ("ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR")
)
_SEGMENT_FIELDS: dict[str, Fields] = dict(SEGMENTS)


class GuestStart(NamedTuple):
    """What a VM entry leaves for the guest's first instruction boundary."""

    activity: int
    interruptibility: int
    pending_debug: int


def load_guest(processor: VmxProcessor, vmcs: VmcsFields) -> GuestStart:
    """Load the guest-state area; MSR lists and event injection come after it."""
    get = vmcs.get
    entry = get(abi.VM_ENTRY_CONTROLS)
    _load_guest_control_registers(processor, vmcs, entry)
    _load_guest_msrs(processor, vmcs, entry)
    for name, fields in SEGMENTS:
        _load_segment(getattr(processor, name), vmcs, fields)
    processor.gdtr.base, processor.gdtr.limit = (
        get(abi.GUEST_GDTR_BASE),
        get(abi.GUEST_GDTR_LIMIT),
    )
    processor.idtr.base, processor.idtr.limit = (
        get(abi.GUEST_IDTR_BASE),
        get(abi.GUEST_IDTR_LIMIT),
    )
    processor.rip, processor.rsp = get(abi.GUEST_RIP), get(abi.GUEST_RSP)
    processor.rflags = get(abi.GUEST_RFLAGS)
    processor.cpl = processor.ss.access_rights >> 5 & 3
    interruptibility = get(abi.GUEST_INTERRUPTIBILITY_STATE)
    processor.mov_ss_blocking = bool(interruptibility & 2)
    return GuestStart(
        get(abi.GUEST_ACTIVITY_STATE),
        interruptibility,
        get(abi.GUEST_PENDING_DBG_EXCEPTIONS),
    )


def _load_guest_control_registers(processor: VmxProcessor, vmcs: VmcsFields, entry: int) -> None:
    get = vmcs.get
    processor.cr0 = processor.cr0 & CR0_KEPT | get(abi.GUEST_CR0) & ~CR0_KEPT
    processor.cr3 = get(abi.GUEST_CR3)
    processor.cr4 = get(abi.GUEST_CR4)
    if entry & abi.VM_ENTRY_LOAD_DEBUG_CONTROLS:
        processor.dr[7] = get(abi.GUEST_DR7) & ~_DR7_CLEARED | DR7_RESET
        processor.write_msr(abi.IA32_DEBUGCTL, get(abi.GUEST_IA32_DEBUGCTL))


def _load_guest_msrs(processor: VmxProcessor, vmcs: VmcsFields, entry: int) -> None:
    get, write_msr = vmcs.get, processor.write_msr
    write_msr(abi.IA32_SYSENTER_CS, get(abi.GUEST_SYSENTER_CS))
    write_msr(abi.IA32_SYSENTER_ESP, get(abi.GUEST_SYSENTER_ESP))
    write_msr(abi.IA32_SYSENTER_EIP, get(abi.GUEST_SYSENTER_EIP))
    if entry & abi.VM_ENTRY_LOAD_IA32_PAT:
        write_msr(abi.IA32_PAT, get(abi.GUEST_PAT))
    if entry & abi.VM_ENTRY_LOAD_IA32_EFER:
        write_msr(abi.IA32_EFER, get(abi.GUEST_EFER))
        return
    long_mode = bool(entry & abi.VM_ENTRY_IA32E_MODE_GUEST)
    efer = processor.efer & ~abi.EFER_LMA | (abi.EFER_LMA if long_mode else 0)
    if processor.cr0 & abi.CR0_PG:  # with paging on LME and LMA are one
        efer = efer & ~abi.EFER_LME | (abi.EFER_LME if long_mode else 0)
    write_msr(abi.IA32_EFER, efer)


def _load_segment(segment: Segment, vmcs: VmcsFields, fields: Fields) -> None:
    get = vmcs.get
    segment.selector = get(fields.selector)
    segment.base = get(fields.base)
    segment.limit = get(fields.limit)
    segment.access_rights = get(fields.rights)


def save_guest(
    processor: VmxProcessor,
    vmcs: Vmcs,
    *,
    activity: int = 0,
    interruptibility: int = 0,
    pending_debug: int = 0,
) -> None:
    """Save the guest-state area at a VM exit."""
    put = vmcs.put
    controls = vmcs.get(abi.VM_EXIT_CONTROLS)
    put(abi.GUEST_CR0, processor.cr0)
    put(abi.GUEST_CR3, processor.cr3)
    put(abi.GUEST_CR4, processor.cr4)
    _save_guest_msrs(processor, vmcs, controls)
    for name, fields in SEGMENTS:
        segment: Segment = getattr(processor, name)
        put(fields.selector, segment.selector)
        put(fields.base, segment.base)
        put(fields.limit, segment.limit)
        put(fields.rights, segment.access_rights)
    put(abi.GUEST_GDTR_BASE, processor.gdtr.base)
    put(abi.GUEST_GDTR_LIMIT, processor.gdtr.limit)
    put(abi.GUEST_IDTR_BASE, processor.idtr.base)
    put(abi.GUEST_IDTR_LIMIT, processor.idtr.limit)
    put(abi.GUEST_RIP, processor.rip)
    put(abi.GUEST_RSP, processor.rsp)
    put(abi.GUEST_RFLAGS, processor.rflags)
    put(abi.GUEST_ACTIVITY_STATE, activity)
    put(abi.GUEST_INTERRUPTIBILITY_STATE, interruptibility)
    put(abi.GUEST_PENDING_DBG_EXCEPTIONS, pending_debug)


def _save_guest_msrs(processor: VmxProcessor, vmcs: Vmcs, controls: int) -> None:
    put, read_msr = vmcs.put, processor.read_msr
    if controls & abi.VM_EXIT_SAVE_DEBUG_CONTROLS:
        put(abi.GUEST_DR7, processor.dr[7])
        put(abi.GUEST_IA32_DEBUGCTL, read_msr(abi.IA32_DEBUGCTL))
    put(abi.GUEST_SYSENTER_CS, read_msr(abi.IA32_SYSENTER_CS))
    put(abi.GUEST_SYSENTER_ESP, read_msr(abi.IA32_SYSENTER_ESP))
    put(abi.GUEST_SYSENTER_EIP, read_msr(abi.IA32_SYSENTER_EIP))
    if controls & abi.VM_EXIT_SAVE_IA32_PAT:
        put(abi.GUEST_PAT, read_msr(abi.IA32_PAT))
    if controls & abi.VM_EXIT_SAVE_IA32_EFER:
        put(abi.GUEST_EFER, processor.efer)
    entry = vmcs.get(abi.VM_ENTRY_CONTROLS) & ~abi.VM_ENTRY_IA32E_MODE_GUEST
    if processor.efer & abi.EFER_LMA:
        entry |= abi.VM_ENTRY_IA32E_MODE_GUEST
    put(abi.VM_ENTRY_CONTROLS, entry)


def load_host(processor: VmxProcessor, vmcs: Vmcs) -> None:
    """Load the host-state area at a VM exit.

    RFLAGS becomes 2: interrupts are off whatever CR8 says, and CR8 still holds the guest's value.
    """
    get = vmcs.get
    controls = get(abi.VM_EXIT_CONTROLS)
    long_mode = bool(controls & abi.VM_EXIT_HOST_ADDRESS_SPACE_SIZE)
    _load_host_control_registers(processor, vmcs, long_mode)
    _load_host_msrs(processor, vmcs, controls, long_mode)
    _load_host_segments(processor, vmcs, long_mode)
    processor.gdtr.base, processor.gdtr.limit = get(abi.HOST_GDTR_BASE), TABLE_LIMIT
    processor.idtr.base, processor.idtr.limit = get(abi.HOST_IDTR_BASE), TABLE_LIMIT
    processor.rip, processor.rsp = get(abi.HOST_RIP), get(abi.HOST_RSP)
    processor.rflags = RFLAGS_RESET
    processor.cpl = 0
    processor.mov_ss_blocking = False
    processor.halted = False


def _load_host_control_registers(processor: VmxProcessor, vmcs: Vmcs, long_mode: bool) -> None:
    get = vmcs.get
    processor.cr0 = processor.cr0 & CR0_KEPT | get(abi.HOST_CR0) & ~CR0_KEPT
    processor.cr3 = get(abi.HOST_CR3)
    cr4 = get(abi.HOST_CR4)
    processor.cr4 = cr4 | abi.CR4_PAE if long_mode else cr4 & ~abi.CR4_PCIDE
    processor.dr[7] = DR7_RESET


def _load_host_msrs(processor: VmxProcessor, vmcs: Vmcs, controls: int, long_mode: bool) -> None:
    get, write_msr = vmcs.get, processor.write_msr
    write_msr(abi.IA32_DEBUGCTL, 0)
    write_msr(abi.IA32_SYSENTER_CS, get(abi.HOST_SYSENTER_CS))
    write_msr(abi.IA32_SYSENTER_ESP, get(abi.HOST_SYSENTER_ESP))
    write_msr(abi.IA32_SYSENTER_EIP, get(abi.HOST_SYSENTER_EIP))
    if controls & abi.VM_EXIT_LOAD_IA32_EFER:
        efer = get(abi.HOST_EFER)
    else:
        both = abi.EFER_LME | abi.EFER_LMA
        efer = processor.efer & ~both | (both if long_mode else 0)
    write_msr(abi.IA32_EFER, efer)
    if controls & abi.VM_EXIT_LOAD_IA32_PAT:
        write_msr(abi.IA32_PAT, get(abi.HOST_PAT))


def _load_host_segments(processor: VmxProcessor, vmcs: Vmcs, long_mode: bool) -> None:
    get = vmcs.get
    _set(
        processor.cs,
        get(abi.HOST_CS_SELECTOR),
        0,
        _FLAT_LIMIT,
        _AR_CODE_64 if long_mode else _AR_CODE_32,
    )
    for segment, selector, base in (
        (processor.ss, abi.HOST_SS_SELECTOR, 0),
        (processor.ds, abi.HOST_DS_SELECTOR, 0),
        (processor.es, abi.HOST_ES_SELECTOR, 0),
        (processor.fs, abi.HOST_FS_SELECTOR, get(abi.HOST_FS_BASE)),
        (processor.gs, abi.HOST_GS_SELECTOR, get(abi.HOST_GS_BASE)),
    ):
        value = get(selector)
        _set(
            segment,
            value,
            base,
            _FLAT_LIMIT,
            _AR_DATA if value else _AR_DATA | abi.ACCESS_RIGHTS_UNUSABLE,
        )
    tr = get(abi.HOST_TR_SELECTOR), get(abi.HOST_TR_BASE)
    _set(processor.tr, *tr, _TSS_LIMIT, _AR_TSS)
    _set(processor.ldtr, 0, 0, 0, abi.ACCESS_RIGHTS_UNUSABLE)


def _set(segment: Segment, selector: int, base: int, limit: int, rights: int) -> None:
    segment.selector, segment.base = selector, base
    segment.limit, segment.access_rights = limit, rights
