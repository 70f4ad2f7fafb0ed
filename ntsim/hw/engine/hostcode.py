"""Host machine code where calls from Python would be most of the cost.

On x86-64 hosts with the System V calling convention that allow executable memory; elsewhere these
functions return None: the engine then makes the calls in Python, and counts instructions in the
library (`blocks.py`).
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

_STORE_AND_STOP = bytes.fromhex("8932 ff6208")

TRIP_WORDS = 13
HANDLE, CONTEXT, RESTORE, START, SAVE, CONTROL, HALFWAY, FIELDS, CS, SS = range(10)
BLOCKS, WRITE_BATCH, READ_BATCH = range(10, TRIP_WORDS)
_ROUND_TRIP = bytes.fromhex(
    "53 55 4154"  # push rbx; push rbp; push r12
    "4889fb 4889f5 4989d4"  # mov rbx, rdi; mov rbp, rsi; mov r12, rdx
    "4885c9 740b"  # test rcx, rcx; jz load
    "488b3b 4889ce 31c0 ff5328"  # CONTROL(HANDLE, rcx)
    "488b7b38 4889ee b910000000 f348a5"  # load: copy 16 words from rbp to FIELDS, rdi behind them
    "488b8580000000 4883c802 48894708"  # mov rax, [rbp + 128]; or rax, 2; mov [rdi + 8], rax
    "488b3b 488b7308 ff5310"  # RESTORE(HANDLE, CONTEXT)
    "4883633000"  # and qword [rbx + 8 * HALFWAY], 0
    "488b3b 488bb588000000 488b5350 31c9 4d89e0 ff5318"  # START(HANDLE, [rbp+136], BLOCKS, 0, r12)
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
BATCH_WORDS = 5
IDS, PLACES, WRITTEN, READ, RIP = range(BATCH_WORDS)
_BATCH_TRIP = bytes.fromhex(
    "53 55 4154"  # push rbx; push rbp; push r12
    "4889fb 4889f5 4989d4"  # mov rbx, rdi; mov rbp, rsi; mov r12, rdx
    "4885c9 740b"  # test rcx, rcx; jz write
    "488b3b 4889ce 31c0 ff5328"  # CONTROL(HANDLE, rcx)
    "488b3b 488b7500 488b5508 8b4d10 ff5358"  # write: WRITE_BATCH(HANDLE, IDS, PLACES, WRITTEN)
    "4883633000"  # and qword [rbx + 8 * HALFWAY], 0
    "488b3b 488b7520 488b36 488b5350 31c9 4d89e0 ff5318"  # START(HANDLE, [RIP], BLOCKS, 0, r12)
    "4189c4"  # mov r12d, eax
    "48837b3000 7511"  # cmp qword [rbx + 8 * HALFWAY], 0; jne done
    "488b3b 488b7500 488b5508 8b4d18 ff5360"  # READ_BATCH(HANDLE, IDS, PLACES, READ)
    "4489e0 415c 5d 5b c3"  # done: mov eax, r12d; pop r12; pop rbp; pop rbx; ret
)
CODE, STOP, PLACE, SIZE, WRITE, COUNT = range(6)
COUNTED, LIMIT, TABLE, BLOCK, BLOCK_SIZE, BLOCK_COUNT, ENTRY, STEPPING = range(6, 14)
EVENT_WORDS = 14
"""Words of `Native.event`; `native.py` says what the first six are. Of the others: instructions in
the blocks that this run has begun, and how many may be; the host address of the table of blocks;
where the last block begins, its bytes and its instructions; the table's entry of the block that is
beyond the limit; whether RFLAGS.TF is ours."""
UNKNOWN_BLOCK, LIMIT_REACHED, NEW_BLOCK = 0x10004, 0x10005, 0x10006
"""CODE, with PLACE and SIZE of a block that has not begun; of a new one WRITE is its instructions.
"""
TABLE_ENTRIES, ENTRY_BYTES, SPREAD = 0x4000, 32, 0x9E5
"""An entry of the table of blocks: address (8 bytes), size (4), instructions (4), 1 if each has to
be looked at (4); its place is (address + size * SPREAD) % TABLE_ENTRIES."""

# Called by the library with (handle, block, size, event) when a block begins.
_ENTER_BLOCK = bytes.fromhex(
    "4469c2e5090000 4101f0 4181e0ff3f0000 41c1e005 4c034140"  # r8 = its entry
    "493b30 7525 418b400c 413b5008 751b"  # another block's: unknown; eax = instructions
    "48894158 48034130 483b4138 7715"  # BLOCK_COUNT = rax; COUNTED + rax > LIMIT: limit
    "48894130 48897148 48895150 c3"  # COUNTED, BLOCK, BLOCK_SIZE
    "c70104000100 eb0a c70105000100 4c894160"  # unknown: CODE; limit: CODE, ENTRY
    "48897110 48895118 ff6108"  # PLACE, SIZE; jump to STOP
)
# Called with (handle, this block, the one before, event) when a block has been translated: address,
# 16 bits of instructions, 16 of size. One of a single instruction goes into the table, because the
# library makes it for one execution only when an instruction rewrites its own block.
_TRANSLATED = bytes.fromhex(
    "488b06 440fb74e08 0fb7560a"  # rax = address, r9 = instructions, edx = size
    "4183f901 7415"  # one: put it into the table
    "48894110 48895118 4c894920 c70106000100 ff6108"  # PLACE, SIZE, WRITE, CODE; jump to STOP
    "4469c2e5090000 4101c0 4181e0ff3f0000 41c1e005 4c034140"  # r8 = its entry
    "498900 41895008 4d89480c c3"
)
# In place of uc_emu_start: (handle, begin, table, 0, limit). A limit of 0 goes on with the count,
# the limit and the table of the run before. Where the run ends before the limit, at a block that
# goes beyond it, the instructions up to the limit are single-stepped.
_START = (
    "53 55 4883ec18 4889fb 48bd{event}"  # push rbx; push rbp; rbx = handle; rbp = event
    "31c0 48894500 4d85c0 7410"  # CODE = 0; test r8, r8; jz go
    "48894530 4c894538 48895540 48894550"  # COUNTED = 0, LIMIT = r8, TABLE = rdx, BLOCK_SIZE = 0
    "31d2 4531c0 48b8{start} ffd0"  # go: START(handle, begin, 0, 0, 0)
    "85c0 0f852f010000 817d0005000100 0f8522010000"  # an error or CODE is not the limit's: done
    "488b4d30 483b4d38 0f8414010000"  # COUNTED is LIMIT: done
    "488b4d60 83791000 0f8506010000"  # each instruction has to be looked at: done
    "c7456801000000 4889df befd000000 4889e2 48b8{read} ffd0"  # STEPPING; READ(handle, RFLAGS, rsp)
    "810c2400010000 4889df befd000000 4889e2 48b8{write} ffd0"  # WRITE it with TF
    "4889df be29000000 488d542408 48b8{read} ffd0"  # step: READ(handle, RIP, rsp + 8)
    "c7450000000000 4889df 488b742408 31d2 31c9 4531c0 48b8{start} ffd0"  # CODE = 0; START
    "89442410 85c0 7547 817d0041010000 74b4"  # an error: end; CODE is the trap's: step
    "817d0004000100 7535"  # CODE is not that of an unknown block: end
    "488b4510 8b5518 4469c2e5090000 4101c0 4181e0ff3f0000 41c1e005 4c034540"  # r8 = its entry
    "b901000000 498900 41895008 4989480c e976ffffff"  # it has one instruction; step
    "4889df befd000000 4889e2 48b8{read} ffd0"  # end: READ(handle, RFLAGS, rsp)
    "812424fffeffff 4889df befd000000 4889e2 48b8{write} ffd0"  # WRITE it without TF
    "c7456800000000 8b442410 4883c418 5d 5b c3"  # done
)
_START_PROTOTYPE = ctypes.CFUNCTYPE(
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64),
    ctypes.c_size_t,
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
def enter_block() -> int | None:
    """Host address of the block hook's callback: it counts instructions without a call."""
    return _place(_ENTER_BLOCK)


@cache
def translated() -> int | None:
    """Host address of the callback for new blocks."""
    return _place(_TRANSLATED)


def start(event: int, emu_start: int, read: int, write: int) -> tuple[int, Any]:
    """A function that runs up to the limit of instructions: its host address, how to call it.

    It stands for uc_emu_start, `emu_start`, with the host address of a table of blocks as the
    second address, and without a limit goes on with the run before. `read` and `write` are the
    addresses of the library's functions for one register, `event` that of the words above.
    """
    names = {"event": event, "start": emu_start, "read": read, "write": write}
    words = {name: value.to_bytes(8, "little").hex() for name, value in names.items()}
    address = _place(bytes.fromhex(_START.format(**words)))
    assert address is not None, "this host counts instructions in the library"
    return address, _START_PROTOTYPE(address)


@cache
def round_trip() -> Callable[[int, int, int, int], int] | None:
    """The run of a world whose registers are resident as one call (in Python: 1 us more).

    Arguments: the addresses of TRIP_WORDS words and of RESIDENT_WORDS registers, steps, and what to
    hand to CONTROL before (0: nothing). The words are the library's handle and functions, the
    world's context, which goes into the processor before and comes back after the run, where in it
    the general registers (RIP and RFLAGS behind them) and two selectors are, and what START takes
    for the table of blocks. A hook that has saved the context in the middle of the run sets
    HALFWAY, and the registers are its own affair. The result is that of START.
    """
    address = _place(_ROUND_TRIP)
    return None if address is None else _PROTOTYPE(address)


@cache
def batch_trip() -> Callable[[int, int, int, int], int] | None:
    """The run of a thread with a register file as one call, as `round_trip` (in Python: 1 us more).

    The second argument is the address of BATCH_WORDS words: for the library's batch calls the
    numbers of the registers, their places, how many are written and how many read; where RIP is.
    """
    address = _place(_BATCH_TRIP)
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
