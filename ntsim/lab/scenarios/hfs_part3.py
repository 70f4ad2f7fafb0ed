"""The tutorial's third part: every processor in VMX root operation, and four kinds of buffers."""

import re

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario
from ntsim.nt.events import Event, IrpCompleted, IrpSent, VmxOccurred


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
    inside = {
        "VmxOperationEntered": during(facts, "IRP_MJ_CREATE"),
        "VmxOperationLeft": during(facts, "IRP_MJ_CLOSE"),
    }
    return all(
        event in inside[event.name] for event in facts.events(VmxOccurred) if event.name in inside
    )


def during(facts: Facts, major: str) -> list[Event]:
    """What happened from when the only request of this kind was sent until it was completed."""
    events = list(facts.events(Event))
    sent = next(e for e in events if isinstance(e, IrpSent) and e.major == major)
    since = events[events.index(sent) :]
    done = next(e for e in since if isinstance(e, IrpCompleted) and e.irp == sent.irp)
    return since[: since.index(done)]


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
