"""The tutorial's hypervisor with everything on: watched page, MSR and port, hidden breakpoint."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def each_kind_of_exit_is_reported(facts: Facts) -> bool:
    """The page's write and read, RDMSR, OUT, and two calls at the breakpoint are reported."""
    text: str = facts.app().stdout
    violations = text.count("EPT violation   W ") == text.count("EPT violation   R ") == 1
    rest = text.count("RDMSR") == text.count("OUT port") == 1 and text.count("returns to") == 2
    return violations and rest and "the page reads 'written'" in text


def every_processor_was_a_guest_and_is_none_any_more(facts: Facts) -> bool:
    """Every processor ran as a guest, and none is in VMX operation at the end."""
    everyone = set(range(facts.processor_count))
    off = all(p.vmx.mode_name == "off" for p in facts.machine.nt.processors)
    return facts.processors_that_ran_a_guest == everyone and off


SCENARIO = Scenario(
    name="hfs-monitor",
    summary="Hypervisor From Scratch, the whole of it: an app shows exits while they happen.",
    story=(
        "A page of the app, an MSR and a port are watched, and a breakpoint is hidden in a routine "
        "of the kernel: in a copy of its page that only instruction fetches see. The app prints a "
        "line for each exit as it comes, and ends with its hooks in place and a request waiting."
    ),
    look_at="driver/hypervisor/hidden.py and monitor.py; userapp/hypervisor_monitor_app.py.",
    source=(
        "Hypervisor From Scratch, parts 7 and 8; SDM 3, EPT Violations, Monitor Trap Flag; "
        "WDK, cancel-safe IRP queues."
    ),
    case=Case(
        drivers=("driver/c/echo.sys", "driver/hypervisor_system.py"),
        apps=("userapp/hypervisor_monitor_app.py",),
        expected=Expectation(
            checks=(
                each_kind_of_exit_is_reported,
                every_processor_was_a_guest_and_is_none_any_more,
            )
        ),
        ends="each exit is a line, and nothing is left behind when the app ends",
    ),
)
