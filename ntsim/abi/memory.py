"""What typed addresses need of the machine whose memory they lie in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

MASK64 = 0xFFFF_FFFF_FFFF_FFFF


class Memory(Protocol):
    """What a typed address needs of its machine.

    `pointers[cls][va]` is the typed address `va` of a class, made with its `_new` when missing.
    """

    @property
    def pointers(self) -> Mapping[Any, Mapping[int, Any]]: ...

    @property
    def lent(self) -> Mapping[int, Any]:
        """The pages that are raw only for a time, by number: whose `views` are to be noted."""

    def raw(self, va: int, size: int) -> int | None:
        """Host address of `size` bytes at `va`, or None if they are guarded or not mapped."""

    def read(self, va: int, size: int) -> bytes:
        """Checked read: ends in the fault that hardware and kernel would give."""

    def write(self, va: int, data: bytes) -> None:
        """Checked write."""

    def allocate(self, size: int, alignment: int) -> int:
        """Storage for a variable of the running code: image data or kernel stack."""

    def call(self, address: int, arguments: tuple[Any, ...]) -> Any:
        """Call the routine at an address."""

    def address_of(self, routine: Callable[..., Any]) -> int:
        """Address of a driver's routine; TypeError if it belongs to no loaded image."""


class NoMachine(RuntimeError):
    """Something of a simulated machine is used where none runs."""


def _no_machine() -> Memory:
    raise NoMachine(
        "no machine is running here: NT variables and pointers exist only inside a driver, an app "
        "or a callable that a Machine runs"
    )


_find: Callable[[], Memory] = _no_machine


def current_memory() -> Memory:
    """The memory of the running code's machine; NoMachine outside of one."""
    return _find()


def set_current_memory(function: Callable[[], Memory]) -> None:
    """Tell how the memory of the running code's machine is found (host does, once)."""
    global _find
    _find = function


class Unplaced:
    """A module-level variable of a driver file that is imported like any other module.

    `Machine.load_driver(module)` takes the module for its file's sake and executes the file afresh;
    this import only has to get through. Any use of the variable is NoMachine.
    """

    kind: str

    def __init__(self, kind: str) -> None:
        self.__dict__["kind"] = kind

    def __repr__(self) -> str:
        return f"<{self.kind} of a module that was imported where no machine runs>"

    def _refuse(self, *_: Any) -> NoReturn:
        raise NoMachine(
            f"this {self.kind} was made where no machine runs: give Machine.load_driver the file, "
            "which it executes afresh, or make the variable inside a routine"
        )

    __getattr__ = __setattr__ = __getitem__ = __setitem__ = __index__ = __add__ = _refuse


def at_module_level() -> bool:
    """Whether the code that called into ntsim is the body of a module."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("ntsim."):
        frame = frame.f_back
    return frame.f_code.co_name == "<module>"
