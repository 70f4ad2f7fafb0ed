"""Moving a processor's state between the VMCS and its registers.

Source: SDM 3, "Loading Guest State" (VM entry), "Saving Guest State" and "Loading Host State"
(VM exit). The checks have been made when a function here runs; nothing can fail.

A hypervisor goes through here at every exit, and mostly has changed nothing but RIP. So what takes
work to find from fields is kept with the VMCS: the guest's segments as the processor holds them
(`Vmcs.segments`) and everything that a VM exit loads (`Vmcs.host`). `Vmcs.write` drops them when
software writes a field that they come from, and nothing else can change one: a VM exit saves
segments through `save_guest`, which brings both up to date.
"""

from dataclasses import dataclass
from operator import itemgetter

from ntsim.abi import vmx_constants as abi
from ntsim.hw.cpu import SEGMENT_NAMES, pack_segments, unpack_segments
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
_LONG_MODE = abi.EFER_LME | abi.EFER_LMA

_SEGMENT_FIELDS = (
    *(field for name in SEGMENT_NAMES for field in fields_of(name.upper())[1:]),
    abi.GUEST_GDTR_BASE,
    abi.GUEST_GDTR_LIMIT,
    abi.GUEST_IDTR_BASE,
    abi.GUEST_IDTR_LIMIT,
)
"""The fields of `Processor.segments`, in its order."""

LOADED_FIELDS = (
    *_SEGMENT_FIELDS,
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
"""What every VM entry loads, whatever the controls."""

_segment_values = itemgetter(*_SEGMENT_FIELDS)


def load_guest(processor: VmxProcessor, vmcs: Vmcs) -> None:
    """Load the guest-state area; MSR lists and event injection come after it."""
    values, msrs = vmcs.values, processor.msrs
    segments = vmcs.segments
    if segments is None:
        segments = vmcs.segments = pack_segments(_segment_values(values))
    processor.segments[:] = segments
    processor.cpl = processor.ss.access_rights >> 5 & 3
    processor.cr0 = processor.cr0 & CR0_KEPT | values[abi.GUEST_CR0] & ~CR0_KEPT
    processor.cr3 = values[abi.GUEST_CR3]
    processor.cr4 = values[abi.GUEST_CR4]
    processor.rip = values[abi.GUEST_RIP]
    processor.rsp = values[abi.GUEST_RSP]
    processor.rflags = values[abi.GUEST_RFLAGS]
    msrs[abi.IA32_SYSENTER_CS] = values[abi.GUEST_SYSENTER_CS]
    msrs[abi.IA32_SYSENTER_ESP] = values[abi.GUEST_SYSENTER_ESP]
    msrs[abi.IA32_SYSENTER_EIP] = values[abi.GUEST_SYSENTER_EIP]
    load_by_controls(processor, vmcs)
    msrs[abi.IA32_EFER] = loaded_efer(processor, values, processor.cr0)
    blocking = values[abi.GUEST_INTERRUPTIBILITY_STATE] & abi.BLOCKING_BY_MOV_SS
    processor.mov_ss_blocking = bool(blocking)


def load_by_controls(processor: VmxProcessor, vmcs: Vmcs) -> None:
    """The debug controls and the PAT, where VM-entry controls say so."""
    values, msrs = vmcs.values, processor.msrs
    entry = values[abi.VM_ENTRY_CONTROLS]
    if entry & abi.VM_ENTRY_LOAD_DEBUG_CONTROLS:
        processor.dr[7] = values[abi.GUEST_DR7] & ~_DR7_CLEARED | DR7_RESET
        msrs[abi.IA32_DEBUGCTL] = values[abi.GUEST_IA32_DEBUGCTL]
    if entry & abi.VM_ENTRY_LOAD_IA32_PAT:
        msrs[abi.IA32_PAT] = vmcs.get(abi.GUEST_PAT)


def loaded_efer(processor: VmxProcessor, values: dict[int, int], cr0: int) -> int:
    """IA32_EFER after an entry that loads `cr0`: the field, or as it is with two bits changed."""
    entry = values[abi.VM_ENTRY_CONTROLS]
    if entry & abi.VM_ENTRY_LOAD_IA32_EFER:
        return values.get(abi.GUEST_EFER, 0)
    found = _LONG_MODE if entry & abi.VM_ENTRY_IA32E_MODE_GUEST else 0
    loaded = _LONG_MODE if cr0 & abi.CR0_PG else abi.EFER_LMA  # with paging LME and LMA are one
    return processor.msrs[abi.IA32_EFER] & ~loaded | found & loaded


def save_guest(
    processor: VmxProcessor, vmcs: Vmcs, activity: int, interruptibility: int, pending_debug: int
) -> None:
    """Save the guest-state area at a VM exit; the numbers are its non-register state now."""
    values, msrs = vmcs.values, processor.msrs
    if processor.segments != vmcs.segments:
        segments = vmcs.segments = bytes(processor.segments)
        values.update(zip(_SEGMENT_FIELDS, unpack_segments(segments), strict=True))
    values[abi.GUEST_CR0] = processor.cr0
    values[abi.GUEST_CR3] = processor.cr3
    values[abi.GUEST_CR4] = processor.cr4
    values[abi.GUEST_SYSENTER_CS] = msrs[abi.IA32_SYSENTER_CS]
    values[abi.GUEST_SYSENTER_ESP] = msrs[abi.IA32_SYSENTER_ESP]
    values[abi.GUEST_SYSENTER_EIP] = msrs[abi.IA32_SYSENTER_EIP]
    values[abi.GUEST_RIP] = processor.rip
    values[abi.GUEST_RSP] = processor.rsp
    values[abi.GUEST_RFLAGS] = processor.rflags
    values[abi.GUEST_ACTIVITY_STATE] = activity
    values[abi.GUEST_INTERRUPTIBILITY_STATE] = interruptibility
    values[abi.GUEST_PENDING_DBG_EXCEPTIONS] = pending_debug
    save_by_controls(processor, vmcs)
    entry = values[abi.VM_ENTRY_CONTROLS] & ~abi.VM_ENTRY_IA32E_MODE_GUEST
    if msrs[abi.IA32_EFER] & abi.EFER_LMA:
        entry |= abi.VM_ENTRY_IA32E_MODE_GUEST
    values[abi.VM_ENTRY_CONTROLS] = entry


def save_by_controls(processor: VmxProcessor, vmcs: Vmcs) -> None:
    """The debug controls, the PAT and IA32_EFER, where VM-exit controls say so."""
    controls, msrs = vmcs.values[abi.VM_EXIT_CONTROLS], processor.msrs
    if controls & abi.VM_EXIT_SAVE_DEBUG_CONTROLS:
        vmcs.put(abi.GUEST_DR7, processor.dr[7])
        vmcs.put(abi.GUEST_IA32_DEBUGCTL, msrs[abi.IA32_DEBUGCTL])
    if controls & abi.VM_EXIT_SAVE_IA32_PAT:
        vmcs.put(abi.GUEST_PAT, msrs[abi.IA32_PAT])
    if controls & abi.VM_EXIT_SAVE_IA32_EFER:
        vmcs.put(abi.GUEST_EFER, msrs[abi.IA32_EFER])


@dataclass(frozen=True, slots=True)
class HostState:
    """What a VM exit loads from one VMCS's host-state area, under its VM-exit controls.

    `cr0` is without the bits that loading keeps; `efer` is None where the exit only sets or clears
    the two long-mode bits of IA32_EFER, to `long_mode`.
    """

    segments: bytes
    cr0: int
    cr3: int
    cr4: int
    rip: int
    rsp: int
    msrs: dict[int, int]
    efer: int | None
    long_mode: int


def load_host(processor: VmxProcessor, vmcs: Vmcs) -> None:
    """Load the host-state area at a VM exit.

    RFLAGS becomes 2: interrupts are off whatever CR8 says, and CR8 still holds the guest's value.
    """
    host = vmcs.host
    if host is None:
        host = vmcs.host = _host_state(vmcs)
    if processor.segments != host.segments:
        processor.segments[:] = host.segments
    processor.cr0 = processor.cr0 & CR0_KEPT | host.cr0
    processor.cr3, processor.cr4 = host.cr3, host.cr4
    processor.dr[7] = DR7_RESET
    msrs = processor.msrs
    msrs.update(host.msrs)
    efer = host.efer
    if efer is None:
        efer = msrs[abi.IA32_EFER] & ~_LONG_MODE | host.long_mode
    msrs[abi.IA32_EFER] = efer
    processor.rip, processor.rsp, processor.rflags = host.rip, host.rsp, RFLAGS_RESET
    processor.cpl = 0
    processor.mov_ss_blocking = processor.halted = False


def _host_state(vmcs: Vmcs) -> HostState:
    get = vmcs.get
    controls = get(abi.VM_EXIT_CONTROLS)
    long_mode = bool(controls & abi.VM_EXIT_HOST_ADDRESS_SPACE_SIZE)
    cr4 = get(abi.HOST_CR4)
    msrs = {
        abi.IA32_DEBUGCTL: 0,
        abi.IA32_SYSENTER_CS: get(abi.HOST_SYSENTER_CS),
        abi.IA32_SYSENTER_ESP: get(abi.HOST_SYSENTER_ESP),
        abi.IA32_SYSENTER_EIP: get(abi.HOST_SYSENTER_EIP),
    }
    if controls & abi.VM_EXIT_LOAD_IA32_PAT:
        msrs[abi.IA32_PAT] = get(abi.HOST_PAT)
    return HostState(
        segments=_host_segments(vmcs, long_mode),
        cr0=get(abi.HOST_CR0) & ~CR0_KEPT,
        cr3=get(abi.HOST_CR3),
        cr4=cr4 | abi.CR4_PAE if long_mode else cr4 & ~abi.CR4_PCIDE,
        rip=get(abi.HOST_RIP),
        rsp=get(abi.HOST_RSP),
        msrs=msrs,
        efer=get(abi.HOST_EFER) if controls & abi.VM_EXIT_LOAD_IA32_EFER else None,
        long_mode=_LONG_MODE if long_mode else 0,
    )


def _host_segments(vmcs: Vmcs, long_mode: bool) -> bytes:
    get = vmcs.get
    found: dict[str, tuple[int, int, int, int]] = {}
    for name, selector, base in (
        ("es", get(abi.HOST_ES_SELECTOR), 0),
        ("ss", get(abi.HOST_SS_SELECTOR), 0),
        ("ds", get(abi.HOST_DS_SELECTOR), 0),
        ("fs", get(abi.HOST_FS_SELECTOR), get(abi.HOST_FS_BASE)),
        ("gs", get(abi.HOST_GS_SELECTOR), get(abi.HOST_GS_BASE)),
    ):
        found[name] = selector, base, _FLAT_LIMIT, _AR_DATA if selector else _AR_NULL
    code = _AR_CODE_64 if long_mode else _AR_CODE_32
    found["cs"] = get(abi.HOST_CS_SELECTOR), 0, _FLAT_LIMIT, code
    found["tr"] = get(abi.HOST_TR_SELECTOR), get(abi.HOST_TR_BASE), _TSS_LIMIT, _AR_TSS
    found["ldtr"] = 0, 0, 0, abi.ACCESS_RIGHTS_UNUSABLE
    tables = get(abi.HOST_GDTR_BASE), TABLE_LIMIT, get(abi.HOST_IDTR_BASE), TABLE_LIMIT
    return pack_segments((*(value for name in SEGMENT_NAMES for value in found[name]), *tables))
