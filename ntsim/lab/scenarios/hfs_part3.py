"""The tutorial's third part: every processor in VMX root operation, and four kinds of buffers."""

import re

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario
from ntsim.nt.events import IrpCompleted, IrpSent


def vmxon_regions(facts: Facts) -> list[int]:
    """Physical addresses that VMXON was given, in order."""
    events = facts.vmx("VmxOperationEntered")
    return [int(event.text_.rpartition(" ")[2], 16) for event in events]


def vmcs_regions(facts: Facts) -> list[int]:
    """Physical addresses of the VMCSs that became current, in order."""
    found = (re.search(r"VMCS (0x[0-9a-f]+)", e.text_) for e in facts.vmx("VmcsLoaded"))
    return [int(match[1], 16) for match in found if match]


def every_processor_has_regions_of_its_own(facts: Facts) -> bool:
    """As many distinct, 4 KiB aligned VMXON and VMCS regions as there are processors."""
    vmxon, vmcs = vmxon_regions(facts), vmcs_regions(facts)
    distinct = len({*vmxon, *vmcs}) == 2 * facts.processor_count
    return distinct and len(vmxon) == len(vmcs) and not any(pa % 4096 for pa in vmxon + vmcs)


def every_processor_enters_and_leaves_VMX_operation_once(facts: Facts) -> bool:
    everyone = list(range(facts.processor_count))
    kinds = ("VmxOperationEntered", "VmxOperationLeft")
    return all(sorted(e.processor for e in facts.vmx(kind)) == everyone for kind in kinds)


def VMX_is_on_exactly_while_the_device_is_open(facts: Facts) -> bool:
    """VMXON happens inside IRP_MJ_CREATE and VMXOFF inside IRP_MJ_CLOSE."""
    create, close = (request_times(facts, major) for major in ("IRP_MJ_CREATE", "IRP_MJ_CLOSE"))
    entered = [event.time for event in facts.vmx("VmxOperationEntered")]
    left = [event.time for event in facts.vmx("VmxOperationLeft")]
    return all(t in create for t in entered) and all(t in close for t in left)


def request_times(facts: Facts, major: str) -> range:
    """From the moment when the only request of this kind was sent until it was completed."""
    sent = next(event for event in facts.events(IrpSent) if event.major == major)
    done = (e for e in facts.events(IrpCompleted) if e.irp == sent.irp and e.time >= sent.time)
    return range(sent.time, next(done).time + 1)


def all_four_methods_answer(facts: Facts) -> bool:
    answers = facts.app().stdout.count("This String is from Device Driver !!!")
    return answers == 3 and "transferred from OutBuffer" in facts.app().stdout


SCENARIO = Scenario(
    name="hfs-part3",
    summary="Hypervisor From Scratch, part 3: VMXON and a VMCS on every processor.",
    story=(
        "Opening the device takes each logical processor into VMX root operation, with a VMXON "
        "region and a VMCS region of its own; closing it takes them all out again. In between the "
        "app tries METHOD_BUFFERED, IN_DIRECT, OUT_DIRECT and NEITHER."
    ),
    look_at="DbgPrint between CreateFile and CloseHandle: eight processors, eight region pairs.",
    source="Hypervisor From Scratch, part 3: Setting up Our First Virtual Machine.",
    case=Case(
        drivers=("driver/hypervisor/driver.py",),
        apps=("userapp/hypervisor_app.py",),
        processors=8,
        unload=True,
        expected=Expectation(
            checks=(
                every_processor_has_regions_of_its_own,
                every_processor_enters_and_leaves_VMX_operation_once,
                VMX_is_on_exactly_while_the_device_is_open,
                all_four_methods_answer,
            )
        ),
        ends="every processor is in VMX root operation while the device is open",
    ),
)
