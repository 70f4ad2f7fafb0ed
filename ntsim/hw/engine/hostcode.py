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

ROUND_TRIP_WORDS = 10
HANDLE, CONTEXT, RESTORE, START, SAVE, CONTROL, HALFWAY, FIELDS, CS, SS = range(ROUND_TRIP_WORDS)
_ROUND_TRIP = bytes.fromhex(
    "53 55 4154"  # push rbx; push rbp; push r12
    "4889fb 4889f5 4989d4"  # mov rbx, rdi; mov rbp, rsi; mov r12, rdx
    "4885c9 740b"  # test rcx, rcx; jz load
    "488b3b 4889ce 31c0 ff5328"  # CONTROL(HANDLE, rcx)
    "488b7b38 4889ee b910000000 f348a5"  # load: copy 16 words from rbp to FIELDS, rdi behind them
    "488b8580000000 4883c802 48894708"  # mov rax, [rbp + 128]; or rax, 2; mov [rdi + 8], rax
    "488b3b 488b7308 ff5310"  # RESTORE(HANDLE, CONTEXT)
    "4883633000"  # and qword [rbx + 8 * HALFWAY], 0
    "488b3b 488bb588000000 31d2 31c9 4d89e0 ff5318"  # START(HANDLE, [rbp + 136], 0, 0, r12)
    "4189c4"  # mov r12d, eax
    "48837b3000 753b"  # cmp qword [rbx + 8 * HALFWAY], 0; jne done
    "488b3b 488b7308 ff5320"  # SAVE(HANDLE, CONTEXT)
    "488b7338 4889ef b910000000 f348a5"  # copy 16 words from FIELDS to rbp, both behind them
    "488b06 48894708"  # mov rax, [rsi]; mov [rdi + 8], rax: RIP
    "488b4608 488907"  # mov rax, [rsi + 8]; mov [rdi], rax: RFLAGS
    "488b4340 8b00 48894710"  # mov rax, [rbx + 8 * CS]; mov eax, [rax]; mov [rdi + 16], rax
    "488b4348 8b00 48894718"  # mov rax, [rbx + 8 * SS]; mov eax, [rax]; mov [rdi + 24], rax
    "4489e0 415c 5d 5b c3"  # done: mov eax, r12d; pop r12; pop rbp; pop rbx; ret
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
    """The run of a world whose registers are resident as one call (in Python: 1 us more).

    Arguments: the addresses of ROUND_TRIP_WORDS words and of RESIDENT_WORDS registers, steps, and
    what to hand to CONTROL before (0: nothing). The words are the library's handle and functions,
    the world's context, which goes into the processor before and comes back after the run, and
    where in it the general registers (RIP and RFLAGS behind them) and two selectors are. A hook
    that has saved the context in the middle of the run sets HALFWAY, and the registers are its own
    affair. The result is that of START.
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
