"""Checks on guest non-register state: activity, interruptibility, debug events, link."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry.candidate import Candidate, Section, Violations
from ntsim.hw.vmx.entry.guest_segments import SS, dpl
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.vmcs import NO_POINTER, peek, revision_at

_STATE = Section("Checks on Guest Non-Register State")
_PDPTES = Section("Checks on Guest Page-Directory-Pointer-Table Entries")
_INTERRUPTIBILITY_RESERVED = 0xFFFF_FFF0  # bit 4, enclave interruption, needs SGX
_PENDING_RESERVED = ~0x1_500F
PENDING_BS = 1 << 14
_PENDING_RTM = 1 << 16
_PDPTE_RESERVED_LOW = 0x1E6
QUALIFICATION_PDPTE, QUALIFICATION_NMI, QUALIFICATION_LINK = 2, 3, 4
_NMI_VECTOR, _MACHINE_CHECK, _DEBUG = 2, 18, 1


def _injected(c: Candidate) -> Event | None:
    return Event.from_field(c.get(abi.VM_ENTRY_INTR_INFO_FIELD), 0, 0)


def activity(c: Candidate) -> Violations:
    """A supported state, in which nothing is blocked that only running code blocks."""
    field = abi.GUEST_ACTIVITY_STATE
    state = c.get(field)
    if not c.capabilities.misc.supports_activity(state):
        yield _STATE.violation(c, field, "not an activity state of this processor", "0 to 3")
        return
    if state == abi.ACTIVITY_STATE_HLT and dpl(c, SS):
        yield _STATE.violation(c, field, "HLT is ring 0's", "0, or SS with DPL 0")
    blocking = c.get(abi.GUEST_INTERRUPTIBILITY_STATE)
    if state != abi.ACTIVITY_STATE_ACTIVE and blocking & (
        abi.BLOCKING_BY_STI | abi.BLOCKING_BY_MOV_SS
    ):
        yield _STATE.violation(c, field, "blocking by STI or MOV SS needs a running guest", "0")
    event = _injected(c)
    if event is not None and not _wakes(state, event):
        yield _STATE.violation(c, field, "the injected event cannot arrive in this state", "0")


def _wakes(state: int, event: Event) -> bool:
    kind, vector = event.kind, event.vector
    if state == abi.ACTIVITY_STATE_HLT:
        if kind == abi.INTR_TYPE_HARDWARE_EXCEPTION:
            return vector in (_DEBUG, _MACHINE_CHECK)
        return kind in (
            abi.INTR_TYPE_EXTERNAL_INTERRUPT,
            abi.INTR_TYPE_NMI,
            abi.INTR_TYPE_OTHER_EVENT,
        )
    if state == abi.ACTIVITY_STATE_SHUTDOWN:
        machine_check = kind == abi.INTR_TYPE_HARDWARE_EXCEPTION and vector == _MACHINE_CHECK
        return kind == abi.INTR_TYPE_NMI or machine_check
    return state == abi.ACTIVITY_STATE_ACTIVE


def interruptibility(c: Candidate) -> Violations:
    """Which blocking fits RFLAGS.IF, SMM and the injected event."""
    field = abi.GUEST_INTERRUPTIBILITY_STATE
    value = c.get(field)
    yield from _STATE.zero(c, field, _INTERRUPTIBILITY_RESERVED, "reserved bits are set")
    if value & abi.BLOCKING_BY_STI and value & abi.BLOCKING_BY_MOV_SS:
        yield _STATE.violation(c, field, "blocking by STI and by MOV SS", "one of bits 0 and 1")
    if value & abi.BLOCKING_BY_STI and not c.get(abi.GUEST_RFLAGS) & abi.RFLAGS_IF:
        yield _STATE.violation(c, field, "STI set RFLAGS.IF, which is 0", "bit 0 clear")
    yield from _STATE.zero(c, field, abi.BLOCKING_BY_SMI, "the processor is not in SMM")
    event = _injected(c)
    if event is None:
        return
    shadow = value & (abi.BLOCKING_BY_STI | abi.BLOCKING_BY_MOV_SS)
    if event.kind == abi.INTR_TYPE_EXTERNAL_INTERRUPT and shadow:
        yield _STATE.violation(c, field, "an external interrupt is injected", "bits 1:0 clear")
    if event.kind == abi.INTR_TYPE_NMI:
        yield from _with_nmi(c, field, value)


def _with_nmi(c: Candidate, field: int, value: int) -> Violations:
    if value & abi.BLOCKING_BY_MOV_SS:
        yield _STATE.violation(c, field, "an NMI is injected", "bit 1 clear")
    if value & abi.BLOCKING_BY_STI:
        yield _STATE.violation(c, field, "an NMI is injected", "bit 0 clear", QUALIFICATION_NMI)
    if c.pin & abi.PIN_BASED_VIRTUAL_NMIS and value & abi.BLOCKING_BY_NMI:
        yield _STATE.violation(c, field, "virtual NMIs are blocked", "bit 3 clear")


def pending_debug_exceptions(c: Candidate) -> Violations:
    """No reserved bits; single-step pending exactly when it has to be."""
    field = abi.GUEST_PENDING_DBG_EXCEPTIONS
    value = c.get(field)
    yield from _STATE.zero(c, field, _PENDING_RESERVED, "reserved bits are set")
    blocking = c.get(abi.GUEST_INTERRUPTIBILITY_STATE)
    shadow = blocking & (abi.BLOCKING_BY_STI | abi.BLOCKING_BY_MOV_SS)
    if shadow or c.get(abi.GUEST_ACTIVITY_STATE) == abi.ACTIVITY_STATE_HLT:
        branch_steps = c.get(abi.GUEST_IA32_DEBUGCTL) & abi.DEBUGCTL_BTF
        stepping = bool(c.get(abi.GUEST_RFLAGS) & abi.RFLAGS_TF) and not branch_steps
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
    field = abi.VMCS_LINK_POINTER
    pointer = c.get(field)
    if pointer == NO_POINTER:
        return
    accepted = "ffffffff`ffffffff"
    problem = None
    if not c.capabilities.is_page(pointer):
        problem = "not the physical address of a 4-KByte region"
    else:
        revision = revision_at(c.memory, pointer)
        shadowing = bool(c.secondary & abi.SECONDARY_VMCS_SHADOWING)
        if revision & abi.VMCS_REVISION_MASK != c.capabilities.revision_id:
            problem = f"the region's revision identifier is {revision:#x}"
        elif bool(revision & abi.VMCS_SHADOW_INDICATOR) != shadowing:
            problem = "the region's shadow-VMCS indicator does not fit VMCS shadowing"
        elif pointer == c.vmcs.address:
            problem = "it is the current VMCS itself"
    if problem:
        yield _STATE.violation(c, field, problem, accepted, QUALIFICATION_LINK)


def page_directory_pointers(c: Candidate) -> Violations:
    """With PAE paging the four PDPTEs have no reserved bits set."""
    paging = c.get(abi.GUEST_CR0) & abi.CR0_PG and c.get(abi.GUEST_CR4) & abi.CR4_PAE
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
    if c.secondary & abi.SECONDARY_ENABLE_EPT:
        fields = (
            abi.GUEST_PDPTE0,
            abi.GUEST_PDPTE1,
            abi.GUEST_PDPTE2,
            abi.GUEST_PDPTE3,
        )
        return [(field, c.get(field)) for field in fields]
    table = peek(c.memory, c.get(abi.GUEST_CR3) & 0xFFFF_FFE0, 32)
    entries = (int.from_bytes(table[i : i + 8], "little") for i in range(0, 32, 8))
    return [(abi.GUEST_CR3, entry) for entry in entries]


CHECKS = (
    activity,
    interruptibility,
    pending_debug_exceptions,
    link_pointer,
    page_directory_pointers,
)
