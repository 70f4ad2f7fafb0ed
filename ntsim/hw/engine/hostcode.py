"""The interrupt hook's callback as five bytes of host code.

A Python callback costs 0.7 us of an exit, and a Ctrl-C that arrives inside one is lost. So on
x86-64 hosts with the System V calling convention the hook is two instructions that store the number
and jump to the library's `uc_emu_stop`. Elsewhere, or where the host forbids executable memory, the
caller uses Python.
"""

import ctypes
import mmap
import os
import sys
from functools import cache

_STORE_AND_STOP = bytes.fromhex("8932 ff6208")
"""mov [rdx], esi; jmp [rdx + 8]. RDX, the hook's user data: the event, then where to jump."""


@cache
def store_and_stop() -> int | None:
    """Host address of the callback, None if this host cannot have it. The page is never freed."""
    if sys.platform == "win32" or os.uname().machine != "x86_64":
        return None
    access = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, access)
    except OSError:
        return None
    page[: len(_STORE_AND_STOP)] = _STORE_AND_STOP
    pin = ctypes.c_char.from_buffer(page)
    _kept.append(pin)
    return ctypes.addressof(pin)


_kept: list[ctypes.c_char] = []
