"""The tutorial's second part: a device, its dispatch table, and CR4.VMXE."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario

CR4_VMXE = 1 << 13


def the_app_finds_VT_x_by_CPUID(facts: Facts) -> bool:
    """The app finds VT-x by CPUID."""
    return "VMX Operation is supported" in facts.app().stdout


def exactly_one_processor_has_CR4_VMXE(facts: Facts) -> bool:
    """CR4.VMXE is set on exactly one processor: the one that opened the device."""
    return sum(bool(p.cr4 & CR4_VMXE) for p in facts.machine.nt.processors) == 1


def no_processor_is_in_VMX_operation(facts: Facts) -> bool:
    return not any(facts.vmx("VmxOperationEntered"))


def cleanup_and_close_reach_the_driver(facts: Facts) -> bool:
    """IRP_MJ_CLEANUP and IRP_MJ_CLOSE both reach the driver."""
    return facts.debug_output.count("[*] Not implemented yet :( !") == 2


SCENARIO = Scenario(
    name="hfs-part2",
    summary="Hypervisor From Scratch, part 2: dispatch table, CPUID detection, CR4.VMXE.",
    story=(
        "The app asks CPUID for vendor and VT-x and opens the device; IRP_MJ_CREATE sets CR4.VMXE. "
        "That is a bit of one processor, and VMXON on any other would still be an invalid opcode."
    ),
    look_at="Which processor got CR4.VMXE, and that opening and closing send three IRPs.",
    source="Hypervisor From Scratch, part 2: Entering VMX Operation.",
    case=Case(
        drivers=("driver/hypervisor_part2.py",),
        apps=("userapp/hypervisor_part2_app.py",),
        unload=True,
        expected=Expectation(
            checks=(
                the_app_finds_VT_x_by_CPUID,
                exactly_one_processor_has_CR4_VMXE,
                no_processor_is_in_VMX_operation,
                cleanup_and_close_reach_the_driver,
            )
        ),
        ends="one processor has CR4.VMXE set",
    ),
)
