"""The running app thread, for the functions that apps call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from ntsim.host.current import caller_error, current_kernel

if TYPE_CHECKING:
    from ntsim.um.thread import UserThread

MASK64 = 0xFFFF_FFFF_FFFF_FFFF


def current_user(what: str) -> UserThread:
    """The thread that is executing user-mode code. A driver that asks hears that it cannot."""
    found = getattr(getcurrent(), "user", None)
    if found is not None:
        found.nt.il.check_closed()
    if found is None or found.thread.in_kernel:
        current_kernel(what)
        raise caller_error(f"{what} is for apps: a driver runs in the kernel, use the Zw routines")
    return found  # type: ignore[no-any-return]


class PyHANDLE(int):
    """A handle: an int with pywin32's methods. It is not closed behind anybody's back."""

    def Close(self) -> None:
        """CloseHandle."""
        from ntsim.um.handles import CloseHandle

        CloseHandle(self)

    def Detach(self) -> int:
        """The handle's value."""
        return int(self)

    @property
    def handle(self) -> int:
        return int(self)

    def __repr__(self) -> str:
        return f"<PyHANDLE:{int(self)}>"

    __str__ = int.__repr__


def handle_value(value: Any, where: str) -> int:
    """The number of a handle argument; None is 0, negative ones are pseudo handles."""
    if value is None:
        return 0
    try:
        return int(value.__index__()) & MASK64
    except AttributeError:
        raise caller_error(f"{where} takes a handle, not {value!r}") from None
