"""Checks on guest non-register state: activity, interruptibility, debug events, link."""

from ntsim.hw.vmx import _abi as f
from ntsim.hw.vmx import controls as ctl
from ntsim.hw.vmx import interruption
from ntsim.hw.vmx.entry.candidate import (
    CR0_PG,
    CR4_PAE,
    RFLAGS_IF,
    RFLAGS_TF,
    Candidate,
    Section,
    Violations,
)
from ntsim.hw.vmx.entry.guest_segments import SS, dpl
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.vmcs import NO_POINTER, REVISION_MASK, SHADOW, peek, revision_at

_STATE = Section("Checks on Guest Non-Register State")
_PDPTES = Section("Checks on Guest Page-Directory-Pointer-Table Entries")
ACTIVE, HLT, SHUTDOWN, WAIT_FOR_SIPI = range(4)
BLOCKING_BY_STI, BLOCKING_BY_MOV_SS, BLOCKING_BY_SMI, BLOCKING_BY_NMI = 1, 2, 4, 8
_INTERRUPTIBILITY_RESERVED = 0xFFFF_FFF0  # bit 4, enclave interruption, needs SGX
_PENDING_RESERVED = ~0x1_500F
PENDING_BS = 1 << 14
_PENDING_RTM, _PENDING_ENABLED = 1 << 16, 1 << 12
_DEBUGCTL_BTF = 1 << 1
_PDPTE_RESERVED_LOW = 0x1E6
QUALIFICATION_PDPTE, QUALIFICATION_NMI, QUALIFICATION_LINK = 2, 3, 4
_NMI_VECTOR, _MACHINE_CHECK, _DEBUG = 2, 18, 1


def _injected(c: Candidate) -> Event | None:
    return Event.from_field(c.get(f.VMCS_CTRL_VMENTRY_INTERRUPTION_INFORMATION_FIELD), 0, 0)


def activity(c: Candidate) -> Violations:
    """A supported state, in which nothing is blocked that only running code blocks."""
    field = f.VMCS_GUEST_ACTIVITY_STATE
    state = c.get(field)
    if not c.capabilities.misc.supports_activity(state):
        yield _STATE.violation(c, field, "not an activity state of this processor", "0 to 3")
        return
    if state == HLT and dpl(c, SS):
        yield _STATE.violation(c, field, "HLT is ring 0's", "0, or SS with DPL 0")
    blocking = c.get(f.VMCS_GUEST_INTERRUPTIBILITY_STATE)
    if state != ACTIVE and blocking & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS):
        yield _STATE.violation(c, field, "blocking by STI or MOV SS needs a running guest", "0")
    event = _injected(c)
    if event is not None and not _wakes(state, event):
        yield _STATE.violation(c, field, "the injected event cannot arrive in this state", "0")


def _wakes(state: int, event: Event) -> bool:
    kind, vector = event.kind, event.vector
    if state == HLT:
        if kind == interruption.HARDWARE_EXCEPTION:
            return vector in (_DEBUG, _MACHINE_CHECK)
        return kind in (
            interruption.EXTERNAL_INTERRUPT,
            interruption.NMI,
            interruption.OTHER_EVENT,
        )
    if state == SHUTDOWN:
        machine_check = kind == interruption.HARDWARE_EXCEPTION and vector == _MACHINE_CHECK
        return kind == interruption.NMI or machine_check
    return state == ACTIVE


def interruptibility(c: Candidate) -> Violations:
    """Which blocking fits RFLAGS.IF, SMM and the injected event."""
    field = f.VMCS_GUEST_INTERRUPTIBILITY_STATE
    value = c.get(field)
    yield from _STATE.zero(c, field, _INTERRUPTIBILITY_RESERVED, "reserved bits are set")
    if value & BLOCKING_BY_STI and value & BLOCKING_BY_MOV_SS:
        yield _STATE.violation(c, field, "blocking by STI and by MOV SS", "one of bits 0 and 1")
    if value & BLOCKING_BY_STI and not c.get(f.VMCS_GUEST_RFLAGS) & RFLAGS_IF:
        yield _STATE.violation(c, field, "STI set RFLAGS.IF, which is 0", "bit 0 clear")
    yield from _STATE.zero(c, field, BLOCKING_BY_SMI, "the processor is not in SMM")
    event = _injected(c)
    if event is None:
        return
    shadow = value & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)
    if event.kind == interruption.EXTERNAL_INTERRUPT and shadow:
        yield _STATE.violation(c, field, "an external interrupt is injected", "bits 1:0 clear")
    if event.kind == interruption.NMI:
        yield from _with_nmi(c, field, value)


def _with_nmi(c: Candidate, field: int, value: int) -> Violations:
    if value & BLOCKING_BY_MOV_SS:
        yield _STATE.violation(c, field, "an NMI is injected", "bit 1 clear")
    if value & BLOCKING_BY_STI:
        yield _STATE.violation(c, field, "an NMI is injected", "bit 0 clear", QUALIFICATION_NMI)
    if c.pin & ctl.PIN_VIRTUAL_NMIS and value & BLOCKING_BY_NMI:
        yield _STATE.violation(c, field, "virtual NMIs are blocked", "bit 3 clear")


def pending_debug_exceptions(c: Candidate) -> Violations:
    """No reserved bits; single-step pending exactly when it has to be."""
    field = f.VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS
    value = c.get(field)
    yield from _STATE.zero(c, field, _PENDING_RESERVED, "reserved bits are set")
    blocking = c.get(f.VMCS_GUEST_INTERRUPTIBILITY_STATE)
    shadow = blocking & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)
    if shadow or c.get(f.VMCS_GUEST_ACTIVITY_STATE) == HLT:
        branch_steps = c.get(f.VMCS_GUEST_DEBUGCTL) & _DEBUGCTL_BTF
        stepping = bool(c.get(f.VMCS_GUEST_RFLAGS) & RFLAGS_TF) and not branch_steps
        if bool(value & PENDING_BS) != stepping:
            yield _STATE.violation(
                c,
                field,
                "single-step (BS) has to be pending exactly when RFLAGS.TF is 1 and BTF is 0",
                f"bit 14 {'set' if stepping else 'clear'}",
            )
    if value & _PENDING_RTM:
        yield _STATE.violation(c, field, "the processor has no RTM", "bit 16 clear")


def link_pointer(c: Candidate) -> Violations:
    """All ones, or a region of this revision that is not the VMCS itself."""
    field = f.VMCS_GUEST_VMCS_LINK_POINTER
    pointer = c.get(field)
    if pointer == NO_POINTER:
        return
    accepted = "ffffffff`ffffffff"
    problem = None
    if not c.capabilities.is_page(pointer):
        problem = "not the physical address of a 4-KByte region"
    else:
        revision = revision_at(c.memory, pointer)
        shadowing = bool(c.secondary & ctl.VMCS_SHADOWING)
        if revision & REVISION_MASK != c.capabilities.revision_id:
            problem = f"the region's revision identifier is {revision:#x}"
        elif bool(revision & SHADOW) != shadowing:
            problem = "the region's shadow-VMCS indicator does not fit VMCS shadowing"
        elif pointer == c.vmcs.address:
            problem = "it is the current VMCS itself"
    if problem:
        yield _STATE.violation(c, field, problem, accepted, QUALIFICATION_LINK)


def page_directory_pointers(c: Candidate) -> Violations:
    """With PAE paging the four PDPTEs have no reserved bits set."""
    paging = c.get(f.VMCS_GUEST_CR0) & CR0_PG and c.get(f.VMCS_GUEST_CR4) & CR4_PAE
    if not paging or c.ia32e_guest:
        return
    too_wide = ~((1 << c.capabilities.physical_address_bits) - 1)
    for i, (field, entry) in enumerate(_pdptes(c)):
        if entry & 1 and entry & (_PDPTE_RESERVED_LOW | too_wide):
            yield _PDPTES.violation(
                c,
                field,
                f"PDPTE {i} is {entry:#x}, with reserved bits set",
                "bits 2:1, 8:5 and those beyond the width clear",
                QUALIFICATION_PDPTE,
            )


def _pdptes(c: Candidate) -> list[tuple[int, int]]:
    """The entries, each with the field it hangs on: the VMCS's with EPT, memory's at CR3 else."""
    if c.secondary & ctl.ENABLE_EPT:
        fields = (
            f.VMCS_GUEST_PDPTE0,
            f.VMCS_GUEST_PDPTE1,
            f.VMCS_GUEST_PDPTE2,
            f.VMCS_GUEST_PDPTE3,
        )
        return [(field, c.get(field)) for field in fields]
    table = peek(c.memory, c.get(f.VMCS_GUEST_CR3) & 0xFFFF_FFE0, 32)
    entries = (int.from_bytes(table[i : i + 8], "little") for i in range(0, 32, 8))
    return [(f.VMCS_GUEST_CR3, entry) for entry in entries]


CHECKS = (
    activity,
    interruptibility,
    pending_debug_exceptions,
    link_pointer,
    page_directory_pointers,
)
