"""pytest: machines that live as long as a test, and failures that say how to replay them."""

from collections.abc import Callable, Generator
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
    """End a failure with one line for each machine that runs it again."""
    report = yield
    machines = item.stash.get(MACHINES, [])
    if report.failed and machines:
        report.sections.append(("replay", "\n".join(replay_line(*each) for each in machines)))
    return report


def replay_line(options: dict[str, Any], machine: "Machine") -> str:
    """The call that builds the machine again with the schedule it ran."""
    in_the_schedule = ("seed", "strategy", "schedule")
    arguments = {name: value for name, value in options.items() if name not in in_the_schedule}
    arguments["schedule"] = machine.schedule
    return f"ntsim_machine({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
