"""What a finished run can be asked: the questions that expectations are written in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from ntsim.nt.events import Event, VmExited, VmxOccurred

if TYPE_CHECKING:
    from ntsim.machine import Machine
    from ntsim.nt.ke.bugcheck import BugCheckState
    from ntsim.nt.ke.thread import Thread

E = TypeVar("E", bound=Event)


class Facts:
    """A machine after its run. Looking changes nothing."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    # The bug check

    @property
    def crash(self) -> BugCheckState:
        """The bug check; AssertionError in a run without one."""
        state = self.machine.nt.bugcheck_state
        assert state is not None, "the run ended without a bug check"
        return state

    @property
    def parameters(self) -> tuple[int, int, int, int]:
        """The four parameters, the first at index 0."""
        return self.crash.parameters

    @property
    def crashed_thread(self) -> Thread:
        """The thread that was current where the system stopped."""
        threads = self.machine.nt.ke.threads.values()
        return next(thread for thread in threads if thread.text == self.crash.thread)

    @property
    def stack(self) -> list[str]:
        """module!symbol of each frame of the crash, innermost first."""
        return [f"{frame.image.module_name}!{frame.symbol}" for frame in self.crash.stack]

    def symbol_at(self, address: int) -> str:
        """module!symbol that an address lies in, without the offset."""
        return self.machine.nt.images.describe(address).partition("+")[0]

    # Events

    def events(self, kind: type[E]) -> Iterator[E]:
        """What was recorded of one kind, oldest first."""
        return (event for event in self.machine.events if isinstance(event, kind))

    def vmx(self, name: str) -> Iterator[VmxOccurred]:
        """What VT-x reported: `name` is a class of ntsim.hw.vmx.events."""
        return (event for event in self.events(VmxOccurred) if event.name == name)

    @property
    def processors_that_ran_a_guest(self) -> set[int]:
        return {event.processor for event in self.events(VmExited)}

    # The rest

    @property
    def debug_output(self) -> list[str]:
        return self.machine.debug_output

    def app(self, index: int = 0) -> Any:
        """One of the apps that were started."""
        return self.machine.processes[index]

    @property
    def processor_count(self) -> int:
        return self.machine.processors
