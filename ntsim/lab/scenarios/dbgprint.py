"""The reader who sees no output, and the mask that lets DbgPrint speak."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario
from ntsim.nt.kd.filter import FILTER_KEY

PLAIN = "{}: DbgPrint (DEFAULT, INFO)"
INFO = "{}: DbgPrintEx(IHVDRIVER, INFO)"
ERROR = "{}: DbgPrintEx(IHVDRIVER, ERROR)"


def said(facts: Facts, when: str) -> list[str]:
    """The lines shown of what the driver says at one moment."""
    return [line for line in facts.debug_output if line.startswith(f"{when}:")]


def lines(when: str, *templates: str) -> list[str]:
    return [template.format(when) for template in templates]


def as_it_boots_only_errors_are_shown(facts: Facts) -> bool:
    moments = ("DriverEntry", "as it boots")
    return all(said(facts, when) == lines(when, ERROR) for when in moments)


def with_IHVDRIVER_open_DbgPrintEx_is_shown_and_DbgPrint_is_not(facts: Facts) -> bool:
    when = "IHVDRIVER open"
    return said(facts, when) == lines(when, INFO, ERROR)


def with_DEFAULT_open_everything_is_shown(facts: Facts) -> bool:
    when = "DEFAULT open"
    return said(facts, when) == lines(when, PLAIN, INFO, ERROR)


def DriverEntry_is_heard_through_DEFAULT_and_not_through_IHVDRIVER(facts: Facts) -> bool:
    return said(facts, "DriverEntry") == lines("DriverEntry", PLAIN, ERROR)


SCENARIO = Scenario(
    name="dbgprint",
    summary="DbgPrint says nothing: the reader who sees no output, and the masks behind it.",
    story=(
        "A tutorial's driver is loaded, DebugView runs, and nothing appears. The advice is to set "
        "the registry value IHVDRIVER under Debug Print Filter, and if that does not help to write "
        "nt!Kd_DEFAULT_Mask with a debugger. The app lets the driver speak three times: as a "
        "retail system boots, after the first advice, after the second."
    ),
    look_at=(
        "The DbgPrint lines: one more each time. DbgPrint is the DEFAULT component at level INFO; "
        "IHVDRIVER is another component's mask."
    ),
    source="Hypervisor From Scratch, part 2; WDK, Reading and Filtering Debugging Messages.",
    case=Case(
        drivers=("driver/dbgprint.py",),
        apps=("userapp/dbgprint_app.py",),
        registry={(FILTER_KEY, "DEFAULT"): None},
        unload=True,
        expected=Expectation(
            checks=(
                as_it_boots_only_errors_are_shown,
                with_IHVDRIVER_open_DbgPrintEx_is_shown_and_DbgPrint_is_not,
                with_DEFAULT_open_everything_is_shown,
            )
        ),
        ends="of three messages one is shown, then two, then all",
    ),
    fixed=Case(
        drivers=("driver/dbgprint.py",),
        registry={(FILTER_KEY, "DEFAULT"): 0xF},
        expected=Expectation(
            checks=(DriverEntry_is_heard_through_DEFAULT_and_not_through_IHVDRIVER,)
        ),
        ends="with the registry value DEFAULT = 0xf, DbgPrint speaks from DriverEntry on",
    ),
)
