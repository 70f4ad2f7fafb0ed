"""The tutorial's first advice alone: the registry value of the wrong component."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario
from ntsim.nt.kd.filter import FILTER_KEY


def DbgPrintEx_of_IHVDRIVER_is_shown(facts: Facts) -> bool:
    return "DriverEntry: DbgPrintEx(IHVDRIVER, INFO)" in facts.debug_output


def DbgPrint_is_not_shown(facts: Facts) -> bool:
    return not any("DbgPrint (DEFAULT" in line for line in facts.debug_output)


SCENARIO = Scenario(
    name="dbgprint-ihvdriver",
    summary="The registry value IHVDRIVER = 0xffff does not make DbgPrint speak.",
    story=(
        "The first advice to the reader who sees no output, in place before the boot: Debug Print "
        "Filter, IHVDRIVER = 0xffff. It opens a component that DbgPrint does not belong to."
    ),
    look_at="Which two of the three lines of DriverEntry are shown. `ntsim run dbgprint` goes on.",
    source="Hypervisor From Scratch, part 2; WDK, Reading and Filtering Debugging Messages.",
    case=Case(
        drivers=("driver/dbgprint.py",),
        registry={(FILTER_KEY, "DEFAULT"): None, (FILTER_KEY, "IHVDRIVER"): 0xFFFF},
        expected=Expectation(checks=(DbgPrintEx_of_IHVDRIVER_is_shown, DbgPrint_is_not_shown)),
        ends="DbgPrintEx(IHVDRIVER) is shown, DbgPrint is not",
    ),
)
