"""The tutorial's part 6: the running system becomes the guest."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def the_app_sees_the_hypervisor_three_times(facts: Facts) -> bool:
    """The app sees the hypervisor while it is there, in each of the three ways."""
    text: str = facts.app().stdout
    there, gone = text.count(": ntsim HFS ht"), text.count("after: nobody")
    return there == gone == 3 and "before: nobody" in text


def every_processor_was_a_guest_and_is_none_any_more(facts: Facts) -> bool:
    """Every processor ran as a guest, and none is in VMX operation at the end."""
    everyone = set(range(facts.processor_count))
    off = all(p.vmx.mode_name == "off" for p in facts.machine.nt.processors)
    return facts.processors_that_ran_a_guest == everyone and off


SCENARIO = Scenario(
    name="hfs-part6",
    summary="Hypervisor From Scratch, part 6: The running system becomes the guest.",
    story=(
        "Each processor goes on as a guest where it executed VMLAUNCH, and later gives itself "
        "back with "
        "VMXOFF: visited by affinity, by DPC, and by IPI. The app asks CPUID who is below it."
    ),
    look_at=(
        "driver/hypervisor/system.py, and TurnOff in exits.py: "
        "what a VM exit changes has to be put back."
    ),
    source="Hypervisor From Scratch, part 6: Virtualizing an Already Running System.",
    case=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_part6_app.py",),
        unload=True,
        expected=Expectation(
            checks=(
                the_app_sees_the_hypervisor_three_times,
                every_processor_was_a_guest_and_is_none_any_more,
            )
        ),
        ends="the app sees the hypervisor come and go three times",
    ),
)
