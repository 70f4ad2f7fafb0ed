"""Moving a processor's state between the VMCS and its registers.

Source: SDM 3, "Loading Guest State" (VM entry), "Saving Guest State" and "Loading Host State"
(VM exit). The checks have been made when a function here runs; nothing can fail.
"""

from operator import attrgetter, itemgetter
from typing import NamedTuple

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry.guest_segments import fields_of
from ntsim.hw.vmx.protocols import VmxProcessor
from ntsim.hw.vmx.vmcs import Vmcs

CR0_KEPT = 0x7FFA_FFD0
"""ET, NW, CD, and the reserved bits 28:19, 17 and 15:6 keep their values on loads of CR0."""

RFLAGS_RESET = 0x2
DR7_RESET = 0x400
_DR7_CLEARED = 1 << 12 | 1 << 14 | 1 << 15
TABLE_LIMIT = 0xFFFF
_AR_CODE_64, _AR_CODE_32 = 0xA09B, 0xC09B
_AR_DATA = 0xC093
_AR_NULL = _AR_DATA | abi.ACCESS_RIGHTS_UNUSABLE
_AR_TSS = 0x8B
_TSS_LIMIT = 0x67
_FLAT_LIMIT = 0xFFFF_FFFF

_NAMES = ("ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR")
_SEGMENT_FIELDS = tuple(field for name in _NAMES for field in fields_of(name)[1:])
_TABLE_FIELDS = (
    abi.GUEST_GDTR_BASE,
    abi.GUEST_GDTR_LIMIT,
    abi.GUEST_IDTR_BASE,
    abi.GUEST_IDTR_LIMIT,
)
_OTHER_FIELDS = (
    abi.GUEST_CR0,
    abi.GUEST_CR3,
    abi.GUEST_CR4,
    abi.GUEST_SYSENTER_CS,
    abi.GUEST_SYSENTER_ESP,
    abi.GUEST_SYSENTER_EIP,
    abi.GUEST_RIP,
    abi.GUEST_RSP,
    abi.GUEST_RFLAGS,
    abi.GUEST_ACTIVITY_STATE,
    abi.GUEST_INTERRUPTIBILITY_STATE,
    abi.GUEST_PENDING_DBG_EXCEPTIONS,
)
LOADED_FIELDS = (*_SEGMENT_FIELDS, *_TABLE_FIELDS, *_OTHER_FIELDS)
"""What every VM entry loads, whatever the controls."""

_segments_and_tables = itemgetter(*_SEGMENT_FIELDS, *_TABLE_FIELDS)
_others = itemgetter(*_OTHER_FIELDS)
_segments_of = attrgetter("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
SegmentState = tuple[int, ...]
"""Selector, base, limit and rights of ES, CS, SS, DS, FS, GS, LDTR, TR; GDTR; IDTR."""


class GuestStart(NamedTuple):
    """What a VM entry leaves for the guest's first instruction boundary."""

    activity: int
    interruptibility: int
    pending_debug: int


def segment_state(processor: VmxProcessor) -> SegmentState:
    """The processor's segments and descriptor tables."""
    found: list[int] = []
    for segment in _segments_of(processor):
        found += (segment.selector, segment.base, segment.limit, segment.access_rights)
    gdtr, idtr = processor.gdtr, processor.idtr
    return (*found, gdtr.base, gdtr.limit, idtr.base, idtr.limit)


def load_guest(processor: VmxProcessor, vmcs: Vmcs) -> tuple[GuestStart, SegmentState]:
    """Load the guest-state area; MSR lists and event injection come after it."""
    segments = _segments_and_tables(vmcs.values)
    _load_segments(processor, segments)
    (
        cr0,
        processor.cr3,
        processor.cr4,
        sysenter_cs,
        sysenter_esp,
        sysenter_eip,
        processor.rip,
        processor.rsp,
        processor.rflags,
        *start,
    ) = _others(vmcs.values)
    processor.cr0 = processor.cr0 & CR0_KEPT | cr0 & ~CR0_KEPT
    write_msr = processor.write_msr
    write_msr(abi.IA32_SYSENTER_CS, sysenter_cs)
    write_msr(abi.IA32_SYSENTER_ESP, sysenter_esp)
    write_msr(abi.IA32_SYSENTER_EIP, sysenter_eip)
    _load_by_controls(processor, vmcs)
    found = GuestStart(*start)
    processor.mov_ss_blocking = bool(found.interruptibility & abi.BLOCKING_BY_MOV_SS)
    return found, segments


def _load_segments(processor: VmxProcessor, state: SegmentState) -> None:
    at = 0
    for segment in _segments_of(processor):
        segment.set(state[at], state[at + 1], state[at + 2], state[at + 3])
        at += 4
    gdtr, idtr = processor.gdtr, processor.idtr
    gdtr.base, gdtr.limit, idtr.base, idtr.limit = state[at:]
    processor.cpl = processor.ss.access_rights >> 5 & 3


def _load_by_controls(processor: VmxProcessor, vmcs: Vmcs) -> None:
    get, write_msr = vmcs.get, processor.write_msr
    entry = vmcs.values[abi.VM_ENTRY_CONTROLS]
    if entry & abi.VM_ENTRY_LOAD_DEBUG_CONTROLS:
        processor.dr[7] = get(abi.GUEST_DR7) & ~_DR7_CLEARED | DR7_RESET
        write_msr(abi.IA32_DEBUGCTL, get(abi.GUEST_IA32_DEBUGCTL))
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


def save_guest(
    processor: VmxProcessor, vmcs: Vmcs, start: GuestStart, *, segments_changed: bool
) -> None:
    """Save the guest-state area at a VM exit; `start` is the guest's non-register state now.

    Segments and descriptor tables that have not changed since the entry are in the VMCS already.
    """
    values, read_msr = vmcs.values, processor.read_msr
    if segments_changed:
        state = segment_state(processor)
        values.update(zip((*_SEGMENT_FIELDS, *_TABLE_FIELDS), state, strict=True))
    values[abi.GUEST_CR0] = processor.cr0
    values[abi.GUEST_CR3] = processor.cr3
    values[abi.GUEST_CR4] = processor.cr4
    values[abi.GUEST_SYSENTER_CS] = read_msr(abi.IA32_SYSENTER_CS)
    values[abi.GUEST_SYSENTER_ESP] = read_msr(abi.IA32_SYSENTER_ESP)
    values[abi.GUEST_SYSENTER_EIP] = read_msr(abi.IA32_SYSENTER_EIP)
    values[abi.GUEST_RIP] = processor.rip
    values[abi.GUEST_RSP] = processor.rsp
    values[abi.GUEST_RFLAGS] = processor.rflags
    values[abi.GUEST_ACTIVITY_STATE] = start.activity
    values[abi.GUEST_INTERRUPTIBILITY_STATE] = start.interruptibility
    values[abi.GUEST_PENDING_DBG_EXCEPTIONS] = start.pending_debug
    _save_by_controls(processor, vmcs)


def _save_by_controls(processor: VmxProcessor, vmcs: Vmcs) -> None:
    put, values, efer = vmcs.put, vmcs.values, processor.efer
    controls = values[abi.VM_EXIT_CONTROLS]
    if controls & abi.VM_EXIT_SAVE_DEBUG_CONTROLS:
        put(abi.GUEST_DR7, processor.dr[7])
        put(abi.GUEST_IA32_DEBUGCTL, processor.read_msr(abi.IA32_DEBUGCTL))
    if controls & abi.VM_EXIT_SAVE_IA32_PAT:
        put(abi.GUEST_PAT, processor.read_msr(abi.IA32_PAT))
    if controls & abi.VM_EXIT_SAVE_IA32_EFER:
        put(abi.GUEST_EFER, efer)
    entry = values[abi.VM_ENTRY_CONTROLS] & ~abi.VM_ENTRY_IA32E_MODE_GUEST
    if efer & abi.EFER_LMA:
        entry |= abi.VM_ENTRY_IA32E_MODE_GUEST
    values[abi.VM_ENTRY_CONTROLS] = entry


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
    get = vmcs.values.__getitem__
    code = _AR_CODE_64 if long_mode else _AR_CODE_32
    processor.cs.set(get(abi.HOST_CS_SELECTOR), 0, _FLAT_LIMIT, code)
    for segment, selector, base in (
        (processor.ss, get(abi.HOST_SS_SELECTOR), 0),
        (processor.ds, get(abi.HOST_DS_SELECTOR), 0),
        (processor.es, get(abi.HOST_ES_SELECTOR), 0),
        (processor.fs, get(abi.HOST_FS_SELECTOR), get(abi.HOST_FS_BASE)),
        (processor.gs, get(abi.HOST_GS_SELECTOR), get(abi.HOST_GS_BASE)),
    ):
        segment.set(selector, base, _FLAT_LIMIT, _AR_DATA if selector else _AR_NULL)
    tr, base = get(abi.HOST_TR_SELECTOR), get(abi.HOST_TR_BASE)
    processor.tr.set(tr, base, _TSS_LIMIT, _AR_TSS)
    processor.ldtr.set(0, 0, 0, abi.ACCESS_RIGHTS_UNUSABLE)
