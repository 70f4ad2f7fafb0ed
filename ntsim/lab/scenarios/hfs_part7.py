"""The tutorial's part 7: a page is watched through EPT."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def both_writes_are_reported_and_made(facts: Facts) -> bool:
    """Both writes are reported with their offsets, and both are made."""
    text: str = facts.app().stdout
    exits = [f"EPT violation, qualification 0x1aa, offset {o}" for o in ("0x10", "0x20")]
    reported = all(exit_ in text for exit_ in exits)
    return reported and "read: written" in text


def every_processor_was_a_guest_and_is_none_any_more(facts: Facts) -> bool:
    """Every processor ran as a guest, and none is in VMX operation at the end."""
    everyone = set(range(facts.processor_count))
    off = all(p.vmx.mode_name == "off" for p in facts.machine.nt.processors)
    return facts.processors_that_ran_a_guest == everyone and off


SCENARIO = Scenario(
    name="hfs-part7",
    summary="Hypervisor From Scratch, part 7: A page is watched through EPT.",
    story=(
        "The hypervisor takes the right to write from one page of an app. A write exits; the "
        "handler "
        "lets that one instruction through under the monitor trap flag, and tells the app."
    ),
    look_at="driver/hypervisor/hooks.py, HandleEptViolation and HandleTrapFlag; watch.py.",
    source="Hypervisor From Scratch, part 7: Using EPT and Page-Level Monitoring Features.",
    case=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_part7_app.py",),
        unload=True,
        expected=Expectation(
            checks=(
                both_writes_are_reported_and_made,
                every_processor_was_a_guest_and_is_none_any_more,
            )
        ),
        ends="two writes are reported, and both are made",
    ),
)
