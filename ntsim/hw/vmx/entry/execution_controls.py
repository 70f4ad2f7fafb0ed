"""Checks on VM-execution control fields."""

from ntsim.abi import vmx_constants as abi
from ntsim.abi.control_bits import name_bits
from ntsim.hw.vmx.capabilities import ControlCapability
from ntsim.hw.vmx.entry.candidate import Candidate, Section, Violations
from ntsim.hw.vmx.entry.ept_pointer import eptp_problem
from ntsim.hw.vmx.vmcs import peek

_SECTION = Section("VM-Execution Control Fields")
_PIN = abi.PIN_BASED_VM_EXEC_CONTROL
_PRIMARY = abi.CPU_BASED_VM_EXEC_CONTROL
_SECONDARY = abi.SECONDARY_VM_EXEC_CONTROL
_VTPR_OFFSET = 0x80


def reserved(
    c: Candidate, section: Section, field: int, value: int, allowed: ControlCapability
) -> Violations:
    """A control word sets nothing unsupported and everything required."""
    missing, excess = allowed.missing(value), allowed.excess(value)
    accepted = f"{allowed.adjust(value):#x}, as {allowed.name} has it"
    if missing:
        yield section.violation(c, field, f"{name_bits(field, missing)} must be 1", accepted)
    if excess:
        why = allowed.why_withheld(excess)
        rule = f"{name_bits(field, excess)} must be 0: this processor lacks it"
        yield section.violation(c, field, f"{rule} ({why})" if why else rule, accepted)


def control_words(c: Candidate) -> Violations:
    """Reserved bits of the words, of those that are activated."""
    capabilities = c.capabilities
    yield from reserved(c, _SECTION, _PIN, c.pin, capabilities.pin_based)
    yield from reserved(c, _SECTION, _PRIMARY, c.primary, capabilities.primary)
    if c.primary & abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS:
        yield from reserved(c, _SECTION, _SECONDARY, c.secondary, capabilities.secondary)
    if c.primary & abi.CPU_BASED_ACTIVATE_TERTIARY_CONTROLS:
        tertiary = abi.TERTIARY_VM_EXEC_CONTROL
        yield from reserved(c, _SECTION, tertiary, c.get(tertiary), capabilities.tertiary)


def cr3_targets(c: Candidate) -> Violations:
    """No more CR3-target values than there are."""
    limit = c.capabilities.misc.cr3_targets
    if c.get(abi.CR3_TARGET_COUNT) > limit:
        yield _SECTION.violation(
            c, abi.CR3_TARGET_COUNT, "too many CR3-target values", f"0 to {limit}"
        )


def bitmaps(c: Candidate) -> Violations:
    """I/O and MSR bitmaps lie in pages."""
    if c.primary & abi.CPU_BASED_USE_IO_BITMAPS:
        yield from _SECTION.page(c, abi.IO_BITMAP_A)
        yield from _SECTION.page(c, abi.IO_BITMAP_B)
    if c.primary & abi.CPU_BASED_USE_MSR_BITMAPS:
        yield from _SECTION.page(c, abi.MSR_BITMAP)


def tpr_shadow(c: Candidate) -> Violations:
    """The virtual-APIC page and the TPR threshold."""
    if not c.primary & abi.CPU_BASED_USE_TPR_SHADOW:
        needs = abi.SECONDARY_VIRTUALIZE_X2APIC_MODE | abi.SECONDARY_APIC_REGISTER_VIRTUALIZATION
        needs |= abi.SECONDARY_VIRTUAL_INTERRUPT_DELIVERY
        if c.secondary & needs:
            yield _SECTION.violation(
                c, _SECONDARY, "APIC virtualization needs the TPR shadow", f"{needs:#x} clear"
            )
        return
    yield from _SECTION.page(c, abi.VIRTUAL_APIC_PAGE_ADDR)
    if c.secondary & abi.SECONDARY_VIRTUAL_INTERRUPT_DELIVERY:
        return
    threshold = abi.TPR_THRESHOLD
    yield from _SECTION.zero(c, threshold, 0xFFFF_FFF0, "bits 31:4 are reserved")
    page = c.get(abi.VIRTUAL_APIC_PAGE_ADDR)
    vtpr = peek(c.memory, page + _VTPR_OFFSET, 1)[0]
    if (
        not c.secondary & abi.SECONDARY_VIRTUALIZE_APIC_ACCESSES
        and c.get(threshold) & 0xF > vtpr >> 4
    ):
        yield _SECTION.violation(
            c, threshold, f"it is above bits 7:4 of VTPR ({vtpr:#x})", f"0 to {vtpr >> 4}"
        )


def nmis(c: Candidate) -> Violations:
    """Virtual NMIs need NMI exiting; NMI-window exiting needs virtual NMIs."""
    if c.pin & abi.PIN_BASED_VIRTUAL_NMIS and not c.pin & abi.PIN_BASED_NMI_EXITING:
        yield _SECTION.violation(c, _PIN, "virtual NMIs without NMI exiting", "both, or neither")
    if c.primary & abi.CPU_BASED_NMI_WINDOW_EXITING and not c.pin & abi.PIN_BASED_VIRTUAL_NMIS:
        yield _SECTION.violation(
            c, _PRIMARY, "NMI-window exiting without virtual NMIs", "bit 22 clear"
        )


def apic_accesses(c: Candidate) -> Violations:
    """The APIC-access page, x2APIC mode, virtual-interrupt delivery, posted interrupts."""
    if c.secondary & abi.SECONDARY_VIRTUALIZE_APIC_ACCESSES:
        yield from _SECTION.page(c, abi.APIC_ACCESS_ADDR)
        if c.secondary & abi.SECONDARY_VIRTUALIZE_X2APIC_MODE:
            yield _SECTION.violation(
                c, _SECONDARY, "x2APIC mode together with APIC accesses", "one of bits 0 and 4"
            )
    delivery = c.secondary & abi.SECONDARY_VIRTUAL_INTERRUPT_DELIVERY
    if delivery and not c.pin & abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING:
        yield _SECTION.violation(
            c, _PIN, "virtual-interrupt delivery needs external-interrupt exiting", "bit 0 set"
        )
    if c.pin & abi.PIN_BASED_PROCESS_POSTED_INTERRUPTS:
        yield from _posted_interrupts(c)


def _posted_interrupts(c: Candidate) -> Violations:
    if not c.secondary & abi.SECONDARY_VIRTUAL_INTERRUPT_DELIVERY:
        yield _SECTION.violation(
            c, _PIN, "posted interrupts need virtual-interrupt delivery", "bit 7 clear"
        )
    if not c.exit & abi.VM_EXIT_ACKNOWLEDGE_INTERRUPT_ON_EXIT:
        yield _SECTION.violation(
            c,
            abi.VM_EXIT_CONTROLS,
            "posted interrupts need acknowledge interrupt on exit",
            "bit 15 set",
        )
    vector = abi.POSTED_INTR_NOTIFICATION_VECTOR
    yield from _SECTION.zero(c, vector, 0xFF00, "a vector has 8 bits")
    descriptor = abi.POSTED_INTR_DESC_ADDR
    address = c.get(descriptor)
    if address & 0x3F or not c.capabilities.within_physical_width(address):
        yield _SECTION.violation(
            c, descriptor, "it has to be a physical address", "64-byte aligned, within the width"
        )


def vpid(c: Candidate) -> Violations:
    """VPID 0 is the host's."""
    field = abi.VIRTUAL_PROCESSOR_ID
    if c.secondary & abi.SECONDARY_ENABLE_VPID and not c.get(field):
        yield _SECTION.violation(c, field, "0 is the host's VPID", "1 to 0xffff")


def ept(c: Candidate) -> Violations:
    """The EPT pointer, and what needs EPT."""
    enabled = c.secondary & abi.SECONDARY_ENABLE_EPT
    if enabled:
        problem = eptp_problem(c.get(abi.EPT_POINTER), c.capabilities)
        if problem:
            yield _SECTION.violation(c, abi.EPT_POINTER, problem.rule, problem.accepted)
    for bit, name in (
        (abi.SECONDARY_ENABLE_PML, "page-modification logging"),
        (abi.SECONDARY_UNRESTRICTED_GUEST, "unrestricted guest"),
        (abi.SECONDARY_MODE_BASED_EXECUTE_CONTROL_FOR_EPT, "mode-based execute control"),
        (abi.SECONDARY_SUB_PAGE_WRITE_PERMISSIONS_FOR_EPT, "sub-page write permissions"),
    ):
        if c.secondary & bit and not enabled:
            yield _SECTION.violation(c, _SECONDARY, f"{name} needs EPT", f"bit {bit:#x} clear")
    if c.secondary & abi.SECONDARY_ENABLE_PML:
        yield from _SECTION.page(c, abi.PML_ADDRESS)
    if c.secondary & abi.SECONDARY_SUB_PAGE_WRITE_PERMISSIONS_FOR_EPT:
        yield from _SECTION.page(c, abi.SPP_TABLE_POINTER)


def vm_functions(c: Candidate) -> Violations:
    """VM functions that exist; EPTP switching (function 0) needs EPT and a list."""
    if not c.secondary & abi.SECONDARY_ENABLE_VM_FUNCTIONS:
        return
    field = abi.VM_FUNCTION_CONTROL
    unsupported = 0xFFFF_FFFF_FFFF_FFFF & ~c.capabilities.vm_functions
    yield from _SECTION.zero(c, field, unsupported, "IA32_VMX_VMFUNC lacks the function")
    if c.get(field) & 1:
        if not c.secondary & abi.SECONDARY_ENABLE_EPT:
            yield _SECTION.violation(c, field, "EPTP switching needs EPT", "bit 0 clear")
        yield from _SECTION.page(c, abi.EPTP_LIST_ADDR)


def shadowing_and_ve(c: Candidate) -> Violations:
    """VMREAD and VMWRITE bitmaps; the virtualization-exception area."""
    if c.secondary & abi.SECONDARY_VMCS_SHADOWING:
        yield from _SECTION.page(c, abi.VMREAD_BITMAP)
        yield from _SECTION.page(c, abi.VMWRITE_BITMAP)
    if c.secondary & abi.SECONDARY_EPT_VIOLATION_VE:
        yield from _SECTION.page(c, abi.VIRT_EXCEPTION_INFO)


def tsc_scaling(c: Candidate) -> Violations:
    """The multiplier is not 0."""
    field = abi.TSC_MULTIPLIER
    if c.secondary & abi.SECONDARY_USE_TSC_SCALING and not c.get(field):
        yield _SECTION.violation(c, field, "TSC scaling multiplies by it", "any other value")


CHECKS = (
    control_words,
    cr3_targets,
    bitmaps,
    tpr_shadow,
    nmis,
    apic_accesses,
    vpid,
    ept,
    vm_functions,
    shadowing_and_ve,
    tsc_scaling,
)
