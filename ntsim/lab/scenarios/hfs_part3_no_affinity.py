"""The third part without affinity: VMX on some processors only."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario
from ntsim.lab.scenarios.hfs_part3 import SCENARIO as HFS_PART3


def some_processor_never_enters_VMX_operation(facts: Facts) -> bool:
    entered = {event.processor for event in facts.vmx("VmxOperationEntered")}
    return len(entered) < facts.processor_count or facts.processor_count == 1


def a_VMXON_in_VMX_operation_fails(facts: Facts) -> bool:
    """A VMXON on a processor that is in VMX operation already fails."""
    failed = any(e.text_.startswith("VMXON:") for e in facts.vmx("VmxInstructionFailed"))
    return failed or facts.processor_count == 1


SCENARIO = Scenario(
    name="hfs-part3-no-affinity",
    summary="Without setting affinity: VMXON fails, and some processor is left out.",
    story=(
        "The driver counts the processors without going to them, so VMXON executes wherever the "
        "thread happens to be. On a processor that is in VMX operation already it fails, some "
        "processor never gets there, and the driver says that all went well."
    ),
    look_at="The VMXON that fails, and the processors that have no VMXON region.",
    source="Hypervisor From Scratch, part 3, on affinity; SDM 3, VMXON.",
    case=Case(
        drivers=("driver/hypervisor_no_affinity.py",),
        apps=("userapp/hypervisor_app.py",),
        processors=8,
        expected=Expectation(
            checks=(some_processor_never_enters_VMX_operation, a_VMXON_in_VMX_operation_fails)
        ),
        ends="VMXON fails where it has been executed before",
    ),
    fixed=HFS_PART3.case,
)
