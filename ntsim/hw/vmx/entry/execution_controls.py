"""Checks on VM-execution control fields."""

from ntsim.hw.vmx import _abi as f
from ntsim.hw.vmx import controls as ctl
from ntsim.hw.vmx.capabilities import ControlCapability
from ntsim.hw.vmx.entry.candidate import Candidate, Section, Violations
from ntsim.hw.vmx.entry.ept_pointer import eptp_problem
from ntsim.hw.vmx.vmcs import peek

_SECTION = Section("VM-Execution Control Fields")
_PIN = f.VMCS_CTRL_PIN_BASED_VM_EXECUTION_CONTROLS
_PRIMARY = f.VMCS_CTRL_PROCESSOR_BASED_VM_EXECUTION_CONTROLS
_SECONDARY = f.VMCS_CTRL_SECONDARY_PROCESSOR_BASED_VM_EXECUTION_CONTROLS
_VTPR_OFFSET = 0x80


def reserved(
    c: Candidate, section: Section, field: int, value: int, allowed: ControlCapability
) -> Violations:
    """A control word sets nothing unsupported and everything required."""
    missing, excess = allowed.missing(value), allowed.excess(value)
    if missing:
        yield section.violation(c, field, f"bits {missing:#x} must be 1", f"{allowed.name} say so")
    if excess:
        yield section.violation(c, field, f"bits {excess:#x} must be 0", f"{allowed.name} say so")


def control_words(c: Candidate) -> Violations:
    """Reserved bits of the three words."""
    capabilities = c.capabilities
    yield from reserved(c, _SECTION, _PIN, c.pin, capabilities.pin_based)
    yield from reserved(c, _SECTION, _PRIMARY, c.primary, capabilities.primary)
    if c.primary & ctl.ACTIVATE_SECONDARY_CONTROLS:
        yield from reserved(c, _SECTION, _SECONDARY, c.secondary, capabilities.secondary)


def cr3_targets(c: Candidate) -> Violations:
    """No more CR3-target values than there are."""
    limit = c.capabilities.misc.cr3_targets
    if c.get(f.VMCS_CTRL_CR3_TARGET_COUNT) > limit:
        yield _SECTION.violation(
            c, f.VMCS_CTRL_CR3_TARGET_COUNT, "too many CR3-target values", f"0 to {limit}"
        )


def bitmaps(c: Candidate) -> Violations:
    """I/O and MSR bitmaps lie in pages."""
    if c.primary & ctl.USE_IO_BITMAPS:
        yield from _SECTION.page(c, f.VMCS_CTRL_IO_BITMAP_A_ADDRESS)
        yield from _SECTION.page(c, f.VMCS_CTRL_IO_BITMAP_B_ADDRESS)
    if c.primary & ctl.USE_MSR_BITMAPS:
        yield from _SECTION.page(c, f.VMCS_CTRL_MSR_BITMAP_ADDRESS)


def tpr_shadow(c: Candidate) -> Violations:
    """The virtual-APIC page and the TPR threshold."""
    if not c.primary & ctl.USE_TPR_SHADOW:
        needs = ctl.VIRTUALIZE_X2APIC_MODE | ctl.APIC_REGISTER_VIRTUALIZATION
        needs |= ctl.VIRTUAL_INTERRUPT_DELIVERY
        if c.secondary & needs:
            yield _SECTION.violation(
                c, _SECONDARY, "APIC virtualization needs the TPR shadow", f"{needs:#x} clear"
            )
        return
    yield from _SECTION.page(c, f.VMCS_CTRL_VIRTUAL_APIC_ADDRESS)
    if c.secondary & ctl.VIRTUAL_INTERRUPT_DELIVERY:
        return
    threshold = f.VMCS_CTRL_TPR_THRESHOLD
    yield from _SECTION.zero(c, threshold, 0xFFFF_FFF0, "bits 31:4 are reserved")
    page = c.get(f.VMCS_CTRL_VIRTUAL_APIC_ADDRESS)
    vtpr = peek(c.memory, page + _VTPR_OFFSET, 1)[0]
    if not c.secondary & ctl.VIRTUALIZE_APIC_ACCESSES and c.get(threshold) & 0xF > vtpr >> 4:
        yield _SECTION.violation(
            c, threshold, f"it is above bits 7:4 of VTPR ({vtpr:#x})", f"0 to {vtpr >> 4}"
        )


def nmis(c: Candidate) -> Violations:
    """Virtual NMIs need NMI exiting; NMI-window exiting needs virtual NMIs."""
    if c.pin & ctl.PIN_VIRTUAL_NMIS and not c.pin & ctl.PIN_NMI_EXITING:
        yield _SECTION.violation(c, _PIN, "virtual NMIs without NMI exiting", "both, or neither")
    if c.primary & ctl.NMI_WINDOW_EXITING and not c.pin & ctl.PIN_VIRTUAL_NMIS:
        yield _SECTION.violation(
            c, _PRIMARY, "NMI-window exiting without virtual NMIs", "bit 22 clear"
        )


def apic_accesses(c: Candidate) -> Violations:
    """The APIC-access page, x2APIC mode, virtual-interrupt delivery, posted interrupts."""
    if c.secondary & ctl.VIRTUALIZE_APIC_ACCESSES:
        yield from _SECTION.page(c, f.VMCS_CTRL_APIC_ACCESS_ADDRESS)
        if c.secondary & ctl.VIRTUALIZE_X2APIC_MODE:
            yield _SECTION.violation(
                c, _SECONDARY, "x2APIC mode together with APIC accesses", "one of bits 0 and 4"
            )
    delivery = c.secondary & ctl.VIRTUAL_INTERRUPT_DELIVERY
    if delivery and not c.pin & ctl.PIN_EXTERNAL_INTERRUPT_EXITING:
        yield _SECTION.violation(
            c, _PIN, "virtual-interrupt delivery needs external-interrupt exiting", "bit 0 set"
        )
    if c.pin & ctl.PIN_POSTED_INTERRUPTS:
        yield from _posted_interrupts(c)


def _posted_interrupts(c: Candidate) -> Violations:
    if not c.secondary & ctl.VIRTUAL_INTERRUPT_DELIVERY:
        yield _SECTION.violation(
            c, _PIN, "posted interrupts need virtual-interrupt delivery", "bit 7 clear"
        )
    if not c.exit & ctl.EXIT_ACKNOWLEDGE_INTERRUPT:
        yield _SECTION.violation(
            c,
            f.VMCS_CTRL_PRIMARY_VMEXIT_CONTROLS,
            "posted interrupts need acknowledge interrupt on exit",
            "bit 15 set",
        )
    vector = f.VMCS_CTRL_POSTED_INTERRUPT_NOTIFICATION_VECTOR
    yield from _SECTION.zero(c, vector, 0xFF00, "a vector has 8 bits")
    descriptor = f.VMCS_CTRL_POSTED_INTERRUPT_DESCRIPTOR_ADDRESS
    address = c.get(descriptor)
    if address & 0x3F or not c.capabilities.within_physical_width(address):
        yield _SECTION.violation(
            c, descriptor, "it has to be a physical address", "64-byte aligned, within the width"
        )


def vpid(c: Candidate) -> Violations:
    """VPID 0 is the host's."""
    field = f.VMCS_CTRL_VIRTUAL_PROCESSOR_IDENTIFIER
    if c.secondary & ctl.ENABLE_VPID and not c.get(field):
        yield _SECTION.violation(c, field, "0 is the host's VPID", "1 to 0xffff")


def ept(c: Candidate) -> Violations:
    """The EPT pointer, and what needs EPT."""
    enabled = c.secondary & ctl.ENABLE_EPT
    if enabled:
        problem = eptp_problem(c.get(f.VMCS_CTRL_EPT_POINTER), c.capabilities)
        if problem:
            yield _SECTION.violation(c, f.VMCS_CTRL_EPT_POINTER, problem.rule, problem.accepted)
    for bit, name in (
        (ctl.ENABLE_PML, "page-modification logging"),
        (ctl.UNRESTRICTED_GUEST, "unrestricted guest"),
        (ctl.MODE_BASED_EXECUTE, "mode-based execute control"),
        (ctl.SUB_PAGE_PERMISSIONS, "sub-page write permissions"),
    ):
        if c.secondary & bit and not enabled:
            yield _SECTION.violation(c, _SECONDARY, f"{name} needs EPT", f"bit {bit:#x} clear")
    if c.secondary & ctl.ENABLE_PML:
        yield from _SECTION.page(c, f.VMCS_CTRL_PML_ADDRESS)
    if c.secondary & ctl.SUB_PAGE_PERMISSIONS:
        yield from _SECTION.page(c, f.VMCS_CTRL_SUB_PAGE_PERMISSION_TABLE_POINTER)


def vm_functions(c: Candidate) -> Violations:
    """VM functions that exist; EPTP switching (function 0) needs EPT and a list."""
    if not c.secondary & ctl.ENABLE_VM_FUNCTIONS:
        return
    field = f.VMCS_CTRL_VMFUNC_CONTROLS
    unsupported = 0xFFFF_FFFF_FFFF_FFFF & ~c.capabilities.vm_functions
    yield from _SECTION.zero(c, field, unsupported, "IA32_VMX_VMFUNC lacks the function")
    if c.get(field) & 1:
        if not c.secondary & ctl.ENABLE_EPT:
            yield _SECTION.violation(c, field, "EPTP switching needs EPT", "bit 0 clear")
        yield from _SECTION.page(c, f.VMCS_CTRL_EPT_POINTER_LIST_ADDRESS)


def shadowing_and_ve(c: Candidate) -> Violations:
    """VMREAD and VMWRITE bitmaps; the virtualization-exception area."""
    if c.secondary & ctl.VMCS_SHADOWING:
        yield from _SECTION.page(c, f.VMCS_CTRL_VMREAD_BITMAP_ADDRESS)
        yield from _SECTION.page(c, f.VMCS_CTRL_VMWRITE_BITMAP_ADDRESS)
    if c.secondary & ctl.EPT_VIOLATION_VE:
        yield from _SECTION.page(c, f.VMCS_CTRL_VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS)


def tsc_scaling(c: Candidate) -> Violations:
    """The multiplier is not 0."""
    field = f.VMCS_CTRL_TSC_MULTIPLIER
    if c.secondary & ctl.USE_TSC_SCALING and not c.get(field):
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
