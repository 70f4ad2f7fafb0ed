"""The tutorial's part 5: a VMCS, VMLAUNCH, and a guest of nine bytes."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def the_three_exits_arrive_in_order(facts: Facts) -> bool:
    """The app hears of CPUID, the port and HLT, in this order."""
    text: str = facts.app().stdout
    return (
        0
        <= text.find("CPUID")
        < text.find("I/O instruction, qualification 0x800040")
        < (text.find("HLT"))
    )


SCENARIO = Scenario(
    name="hfs-part5",
    summary="Hypervisor From Scratch, part 5: A VMCS, VMLAUNCH, and a guest of nine bytes.",
    story=(
        "The app sends code; the driver runs it in a guest with EPT, from VMXON to VMXOFF on one "
        "processor, and notes why it left: CPUID, a port, HLT."
    ),
    look_at="driver/hypervisor/small_guest.py, SmallExitHandler.",
    source="Hypervisor From Scratch, part 5: Setting up VMCS and Running Guest Code.",
    case=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_part5_app.py",),
        unload=True,
        expected=Expectation(checks=(the_three_exits_arrive_in_order,)),
        ends="the guest halts, and the app knows its three exits",
    ),
)
