"""What typed addresses need of the machine whose memory they lie in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

MASK64 = 0xFFFF_FFFF_FFFF_FFFF


class Memory(Protocol):
    """What a typed address needs of its machine."""

    pointers: dict[Any, dict[int, Any]]

    def raw(self, va: int, size: int) -> int | None:
        """Host address of `size` bytes at `va`, or None if they are guarded or not mapped."""

    def read(self, va: int, size: int) -> bytes:
        """Checked read: ends in the fault that hardware and kernel would give."""

    def write(self, va: int, data: bytes) -> None:
        """Checked write."""

    def allocate(self, size: int, alignment: int) -> int:
        """Storage for a variable of the running code: image data or kernel stack."""

    def address_of(self, routine: Callable[..., Any]) -> int:
        """Address of a driver's routine; TypeError if it belongs to no loaded image."""


def _no_machine() -> Memory:
    raise RuntimeError(
        "no machine is running here: NT variables and pointers exist only inside a driver, an app "
        "or a callable that a Machine runs"
    )


_find: Callable[[], Memory] = _no_machine


def current_memory() -> Memory:
    """The memory of the running code's machine; RuntimeError outside of one."""
    return _find()


def set_current_memory(function: Callable[[], Memory]) -> None:
    """Tell how the memory of the running code's machine is found (host does, once)."""
    global _find
    _find = function
