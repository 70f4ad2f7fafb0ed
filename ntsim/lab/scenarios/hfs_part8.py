"""The tutorial's part 8: exits reach the app while it runs."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def each_touch_is_reported_twice(facts: Facts) -> bool:
    """Each of three touches is reported as an OUT and as an RDMSR."""
    text: str = facts.app().stdout
    outs = text.count("exit: I/O instruction 0x3f80000, value 0x41")
    return outs == text.count("exit: RDMSR 0xc0000082") == 3


def every_processor_was_a_guest_and_is_none_any_more(facts: Facts) -> bool:
    """Every processor ran as a guest, and none is in VMX operation at the end."""
    everyone = set(range(facts.processor_count))
    off = all(p.vmx.mode_name == "off" for p in facts.machine.nt.processors)
    return facts.processors_that_ran_a_guest == everyone and off


SCENARIO = Scenario(
    name="hfs-part8",
    summary="Hypervisor From Scratch, part 8: Exits reach the app while it runs.",
    story=(
        "MSR and I/O bitmaps choose what exits; the handler notes each exit in its "
        "processor's ring, a DPC completes the request that waits in a cancel-safe queue. The app "
        "ends with a request waiting and the system virtualised; cancellation and IRP_MJ_CLEANUP "
        "put both right."
    ),
    look_at="driver/hypervisor/monitor.py and requests.py, and Cleanup in hypervisor_system.py.",
    source=(
        "Hypervisor From Scratch, part 8: How to Do Magic with Hypervisor; "
        "WDK, cancel-safe IRP queues."
    ),
    case=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_part8_app.py",),
        unload=True,
        expected=Expectation(
            checks=(
                each_touch_is_reported_twice,
                every_processor_was_a_guest_and_is_none_any_more,
            )
        ),
        ends="the app hears of six exits, and nothing is left behind when it ends",
    ),
)
