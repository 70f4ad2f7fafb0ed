"""Host machine code where calls from Python would be most of the cost of an exit.

On x86-64 hosts with the System V calling convention that allow executable memory; elsewhere both
functions return None and the caller does the same in Python.
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from functools import cache

_STORE_AND_STOP = bytes.fromhex("8932 ff6208")

ROUND_TRIP_WORDS = 7
HANDLE, CONTEXT, RESTORE, START, SAVE, CONTROL, HALFWAY = range(ROUND_TRIP_WORDS)
_ROUND_TRIP = bytes.fromhex(
    "53 55 4154"  # push rbx; push rbp; push r12
    "4889fb 4889f5 4989d4"  # mov rbx, rdi; mov rbp, rsi; mov r12, rdx
    "4885c9 740b"  # test rcx, rcx; jz restore
    "488b3b 4889ce 31c0 ff5328"  # CONTROL(HANDLE, rcx)
    "488b3b 488b7308 ff5310"  # restore: RESTORE(HANDLE, CONTEXT)
    "4883633000"  # and qword [rbx + 8 * HALFWAY], 0
    "488b3b 4889ee 31d2 31c9 4d89e0 ff5318"  # START(HANDLE, rbp, 0, 0, r12)
    "89c5"  # mov ebp, eax
    "48837b3000 750a"  # cmp qword [rbx + 8 * HALFWAY], 0; jne done
    "488b3b 488b7308 ff5320"  # SAVE(HANDLE, CONTEXT)
    "89e8 415c 5d 5b c3"  # done: mov eax, ebp; pop r12; pop rbp; pop rbx; ret
)
_PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64
)


def store_and_stop() -> int | None:
    """Host address of the interrupt hook's callback, None if this host cannot have it.

    `mov [rdx], esi; jmp [rdx + 8]`: RDX, the hook's user data, is the event, and behind its first
    word where to jump, the library's `uc_emu_stop`. A Python callback costs 0.7 us of an exit, and
    a Ctrl-C that arrives inside one is lost.
    """
    return _place(_STORE_AND_STOP)


@cache
def round_trip() -> Callable[[int, int, int, int], int] | None:
    """The run of a world whose registers are resident as one call (four cost 0.5 us more).

    Arguments: the address of ROUND_TRIP_WORDS words, RIP, steps, and what to hand to CONTROL before
    (0: nothing). The words are the library's handle and functions, and the world's context, which
    goes into the processor before and comes back after the run. A hook that has saved the context
    in the middle of the run sets HALFWAY. The result is that of START.
    """
    address = _place(_ROUND_TRIP)
    return None if address is None else _PROTOTYPE(address)


@cache
def _place(code: bytes) -> int | None:
    """Host address of executable `code`. The page is never freed."""
    if sys.platform == "win32" or os.uname().machine != "x86_64":
        return None
    access = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, access)
    except OSError:
        return None
    page[: len(code)] = code
    pin = ctypes.c_char.from_buffer(page)
    _kept.append(pin)
    return ctypes.addressof(pin)


_kept: list[ctypes.c_char] = []
