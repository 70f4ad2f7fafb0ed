"""pytest: machines that live as long as a test, and failures that say how to replay them."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ntsim.machine import Machine

Build = Callable[..., "Machine"]

MACHINES = pytest.StashKey[list[tuple[dict[str, Any], "Machine"]]]()
"""The machines of a test, each with the options it was built from."""


@pytest.fixture
def ntsim_machine(request: pytest.FixtureRequest) -> Generator[Build, None, None]:
    """A function that builds a Machine from its options; every machine is closed after the test."""
    from ntsim.machine import Machine

    machines = request.node.stash.setdefault(MACHINES, [])
    with ExitStack() as open_machines:

        def build(**options: Any) -> "Machine":
            machine = open_machines.enter_context(Machine(**options))
            machines.append((options, machine))
            return machine

        yield build


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what each machine of a failed test said and ended in; last, the line that replays it."""
    report = yield
    machines = item.stash.get(MACHINES, [])
    if report.failed and machines:
        for _, machine in machines:
            report.sections += list(sections(machine))
        report.sections.append(("replay", "\n".join(replay_line(*each) for each in machines)))
    if report.when == "teardown":
        machines.clear()  # a session keeps its items, and a machine is some megabytes
    return report


def sections(machine: "Machine") -> Iterator[tuple[str, str]]:
    """Title and text of what a person wants to see of a machine."""
    if machine.debug_output:
        yield "DbgPrint", "\n".join(machine.debug_output)
    if machine.bugcheck is not None:
        yield "bug check", bug_check_text(machine)


def bug_check_text(machine: "Machine") -> str:
    """The report; the bare bug check if ntsim fails to write one, for the test's failure counts."""
    try:
        return str(machine.report().to_text())
    except Exception as error:
        return f"{machine.bugcheck}\n(no report: {type(error).__name__}: {error})"


def replay_line(options: dict[str, Any], machine: "Machine") -> str:
    """The call that builds the machine again with the schedule it ran."""
    in_the_schedule = ("seed", "strategy", "schedule")
    arguments = {name: value for name, value in options.items() if name not in in_the_schedule}
    arguments["schedule"] = machine.schedule
    return f"ntsim_machine({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
