"""How free functions find their machine: through the running greenlet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from ntsim.abi import memory

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def current_kernel(what: str = "this") -> Kernel:
    """The kernel of the machine whose code is running; NoMachine outside one."""
    machine = getattr(getcurrent(), "machine", None)
    if machine is None:
        raise memory.NoMachine(
            f"{what} works only in a driver, an app or a callable that an ntsim.Machine runs"
        )
    return machine  # type: ignore[no-any-return]


def current_memory() -> memory.Memory:
    """The memory of the running machine, for typed addresses."""
    return current_kernel("an NT variable or pointer").mmu


class CallerError(TypeError):
    """A driver called a routine with the wrong arguments: the driver's mistake, not ntsim's."""

    ntsim_caller_error = True


def caller_error(text: str) -> Any:
    return CallerError(text)


def use_running_machine() -> None:
    """From now on typed variables and pointers belong to the running greenlet's machine."""
    memory.set_current_memory(current_memory)
