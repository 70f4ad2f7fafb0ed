"""Host machine code where calls from Python would be most of the cost.

On x86-64 hosts with the System V calling convention that allow executable memory; elsewhere, and
where NTSIM_PORTABLE is set in the environment or inside of `forbidden`, these
functions return None: the engine then makes the calls in Python, and counts instructions in the
library (`blocks.py`).

Each piece of code is followed or preceded by its assembly, up to " -- ": Intel syntax, the names
being constants of this module. To change it, change the assembly:
`tests/hw/engine/test_hostcode.py` assembles it and prints the bytes that it wants.
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ntsim.hw.engine import unicorn_c as c

CODE, STOP, PLACE, SIZE, WRITE, COUNT = range(6)
COUNTED, LIMIT, TABLE, BLOCK, BLOCK_SIZE, BLOCK_COUNT, ENTRY, STEPPING = range(6, 14)
EVENT_WORDS = 14
"""Words of `Native.event`; `native.py` says what the first six are. Of the others: instructions in
the blocks that this run has begun, and how many may be; the host address of the table of blocks;
where the last block begins, its bytes and its instructions; the table's entry of the block that is
beyond the limit; whether RFLAGS.TF is ours."""
UNKNOWN_BLOCK, LIMIT_REACHED, NEW_BLOCK, REWRITTEN = 0x10004, 0x10005, 0x10006, 0x10007
"""CODE, with PLACE and SIZE of a block that has not begun; of a new one WRITE is its instructions.
REWRITTEN: a single instruction of the last block, which it has changed."""
TABLE_ENTRIES, ENTRY_BYTES, SPREAD = 0x4000, 32, 0x9E5
"""An entry of the table of blocks: address (8 bytes), size (4), instructions (4), 1 if each has to
be looked at (4); its place is (address + size * SPREAD) % TABLE_ENTRIES."""
MASK, TF, TRAP_EXIT = TABLE_ENTRIES - 1, 1 << 8, 0x141
REG_RFLAGS, REG_RIP = c.REG_RFLAGS, c.REG_RIP


_STORE_AND_STOP = bytes.fromhex(
    "8932 ff6208"  # mov [rdx], esi; jmp qword ptr [rdx + 8 * STOP]
)

TRIP_WORDS = 14
HANDLE, CONTEXT, RESTORE, START, SAVE, CONTROL, HALFWAY, FIELDS, CS, SS = range(10)
BLOCKS, WRITE_BATCH, READ_BATCH, EVENT = range(10, TRIP_WORDS)
_ROUND_TRIP = bytes.fromhex(
    # push rbx; push rbp; push r12; mov rbx, rdi; mov rbp, rsi; mov r12, rdx
    "53 55 4154 4889fb 4889f5 4989d4"
    "4885c9 740b"  # test rcx, rcx; jz load
    # mov rdi, [rbx]; mov rsi, rcx; xor eax, eax; call qword ptr [rbx + 8 * CONTROL]
    "488b3b 4889ce 31c0 ff5328"
    # load: mov rdi, [rbx + 8 * FIELDS]; mov rsi, rbp; mov ecx, 16; rep movsq
    "488b7b38 4889ee b910000000 f348a5"
    # mov rax, [rbp + 8 * 16]; or rax, 2; mov [rdi + 8], rax -- RFLAGS
    "488b8580000000 4883c802 48894708"
    # mov rdi, [rbx]; mov rsi, [rbx + 8 * CONTEXT]; call qword ptr [rbx + 8 * RESTORE]
    "488b3b 488b7308 ff5310"
    "4883633000"  # and qword ptr [rbx + 8 * HALFWAY], 0
    # mov rdi, [rbx]; mov rsi, [rbp + 8 * 17]; mov rdx, [rbx + 8 * BLOCKS]; xor ecx, ecx -- RIP
    "488b3b 488bb588000000 488b5350 31c9"
    "4d89e0 ff5318"  # mov r8, r12; call qword ptr [rbx + 8 * START]
    "4189c4 48837b3000 753b"  # mov r12d, eax; cmp qword ptr [rbx + 8 * HALFWAY], 0; jne done
    # mov rdi, [rbx]; mov rsi, [rbx + 8 * CONTEXT]; call qword ptr [rbx + 8 * SAVE]
    "488b3b 488b7308 ff5320"
    # mov rsi, [rbx + 8 * FIELDS]; mov rdi, rbp; mov ecx, 16; rep movsq
    "488b7338 4889ef b910000000 f348a5"
    "488b06 48894708"  # mov rax, [rsi]; mov [rdi + 8], rax -- RIP
    "488b4608 488907"  # mov rax, [rsi + 8]; mov [rdi], rax -- RFLAGS
    "488b4340 8b00 48894710"  # mov rax, [rbx + 8 * CS]; mov eax, [rax]; mov [rdi + 16], rax
    "488b4348 8b00 48894718"  # mov rax, [rbx + 8 * SS]; mov eax, [rax]; mov [rdi + 24], rax
    "41f7d4 4963c4"  # done: not r12d; movsxd rax, r12d
    "415c 5d 5b c3"  # pop r12; pop rbp; pop rbx; ret
)
BATCH_WORDS = 5
IDS, PLACES, WRITTEN, READ, RIP = range(BATCH_WORDS)
_BATCH_TRIP = bytes.fromhex(
    # push rbx; push rbp; push r12; mov rbx, rdi; mov rbp, rsi; mov r12, rdx
    "53 55 4154 4889fb 4889f5 4989d4"
    "4885c9 740b"  # test rcx, rcx; jz write
    # mov rdi, [rbx]; mov rsi, rcx; xor eax, eax; call qword ptr [rbx + 8 * CONTROL]
    "488b3b 4889ce 31c0 ff5328"
    "488b3b 488b7500 488b5508"  # write: mov rdi, [rbx]; mov rsi, [rbp]; mov rdx, [rbp + 8 * PLACES]
    "8b4d10 ff5358"  # mov ecx, [rbp + 8 * WRITTEN]; call qword ptr [rbx + 8 * WRITE_BATCH]
    "4883633000"  # and qword ptr [rbx + 8 * HALFWAY], 0
    "488b3b 488b7520 488b36"  # mov rdi, [rbx]; mov rsi, [rbp + 8 * RIP]; mov rsi, [rsi]
    # mov rdx, [rbx + 8 * BLOCKS]; xor ecx, ecx; mov r8, r12; call qword ptr [rbx + 8 * START]
    "488b5350 31c9 4d89e0 ff5318"
    "4189c4 48837b3000 7530"  # mov r12d, eax; cmp qword ptr [rbx + 8 * HALFWAY], 0; jne done
    "488b3b 488b7500 488b5508"  # mov rdi, [rbx]; mov rsi, [rbp]; mov rdx, [rbp + 8 * PLACES]
    "8b4d18 ff5360"  # mov ecx, [rbp + 8 * READ]; call qword ptr [rbx + 8 * READ_BATCH]
    # test r12d, r12d; jnz done; mov rdx, [rbx + 8 * EVENT]; cmp qword ptr [rdx], 0; jne done
    "4585e4 751a 488b5368 48833a00 7510"
    # mov rax, [rbp + 8 * RIP]; dec qword ptr [rax]; mov rax, [rdx + 8 * COUNTED]; dec rax; jmp out
    "488b4520 48ff08 488b4230 48ffc8 eb06"
    "41f7d4 4963c4"  # done: not r12d; movsxd rax, r12d
    "415c 5d 5b c3"  # out: pop r12; pop rbp; pop rbx; ret
)
# Called by the library with (handle, block, size, event) when a block begins. One of a single
# instruction that lies inside of the last, but not at its end, is executed again, because it has
# changed the block: of that one then only what is before it counts.
_ENTER_BLOCK = bytes.fromhex(
    "4469c2e5090000 4101f0 4181e0ff3f0000"  # imul r8d, edx, SPREAD; add r8d, esi; and r8d, MASK
    "41c1e005 4c034140"  # shl r8d, 5; add r8, [rcx + 8 * TABLE] -- the entry of ENTRY_BYTES
    # cmp [r8], rsi; jne unknown; mov eax, [r8 + 12]; cmp edx, [r8 + 8]; jne unknown
    "493930 7554 418b400c 413b5008 754a"
    "83f801 741b"  # cmp eax, 1; je single
    "48894158 48034130"  # count: mov [rcx + 8 * BLOCK_COUNT], rax; add rax, [rcx + 8 * COUNTED]
    "483b4138 773f"  # cmp rax, [rcx + 8 * LIMIT]; ja limit
    "48894130 48897148"  # mov [rcx + 8 * COUNTED], rax; mov [rcx + 8 * BLOCK], rsi
    "48895150 c3"  # mov [rcx + 8 * BLOCK_SIZE], rdx; ret
    "4989f1 4c2b4948 72dc"  # single: mov r9, rsi; sub r9, [rcx + 8 * BLOCK]; jb count
    "4d8d1411 4c3b5150 73d2"  # lea r10, [r9 + rdx]; cmp r10, [rcx + 8 * BLOCK_SIZE]; jae count
    # test r9, r9; jnz rewritten -- an instruction inside of the last block, or its first
    "4d85c9 750a"
    # mov r10, [rcx + 8 * BLOCK_COUNT]; sub [rcx + 8 * COUNTED], r10; jmp count
    "4c8b5158 4c295130 ebc3"
    "c70107000100 eb12"  # rewritten: mov dword ptr [rcx], REWRITTEN; jmp stop
    "c70104000100 eb0a"  # unknown: mov dword ptr [rcx], UNKNOWN_BLOCK; jmp stop
    "c70105000100 4c894160"  # limit: mov dword ptr [rcx], LIMIT_REACHED; mov [rcx + 8 * ENTRY], r8
    "48897110 48895118"  # stop: mov [rcx + 8 * PLACE], rsi; mov [rcx + 8 * SIZE], rdx
    "ff6108"  # jmp qword ptr [rcx + 8 * STOP]
)
# Called with (handle, this block, the one before, event) when a block has been translated: address,
# 16 bits of instructions, 16 of size. One of a single instruction that is known may begin at once:
# where an instruction rewrites its own block the library makes it for one execution only.
_TRANSLATED = bytes.fromhex(
    # mov rax, [rsi]; movzx r9d, word ptr [rsi + 8]; movzx edx, word ptr [rsi + 10]
    "488b06 440fb74e08 0fb7560a"
    "4183f901 752b"  # cmp r9d, 1; jne new
    "4469c2e5090000 4101c0 4181e0ff3f0000"  # imul r8d, edx, SPREAD; add r8d, eax; and r8d, MASK
    "41c1e005 4c034140"  # shl r8d, 5; add r8, [rcx + 8 * TABLE]
    # cmp [r8], rax; jne new; cmp [r8 + 8], edx; jne new; cmp [r8 + 12], r9d; jne new; ret
    "493900 750d 41395008 7507 4539480c 7501 c3"
    # new: mov [rcx + 8 * PLACE], rax; mov [rcx + 8 * SIZE], rdx; mov [rcx + 8 * WRITE], r9
    "48894110 48895118 4c894920"
    "c70106000100 ff6108"  # mov dword ptr [rcx], NEW_BLOCK; jmp qword ptr [rcx + 8 * STOP]
)
# In place of uc_emu_start: (handle, begin, table, 0, limit). A limit of 0 goes on with the count,
# the limit and the table of the run before. Where the run ends before the limit, at a block that
# goes beyond it, the instructions up to the limit are single-stepped.
_START = (
    # push rbx; push rbp; sub rsp, 0x18; mov rbx, rdi; mov rbp, {event}
    "53 55 4883ec18 4889fb 48bd{event}"
    "31c0 48894500 4d85c0 7410"  # xor eax, eax; mov [rbp], rax; test r8, r8; jz go
    "48894530 4c894538"  # mov [rbp + 8 * COUNTED], rax; mov [rbp + 8 * LIMIT], r8
    "48895540 48894550"  # mov [rbp + 8 * TABLE], rdx; mov [rbp + 8 * BLOCK_SIZE], rax
    "31d2 4531c0 48b8{start} ffd0"  # go: xor edx, edx; xor r8d, r8d; mov rax, {start}; call rax
    # test eax, eax; jnz done; cmp dword ptr [rbp], LIMIT_REACHED; jne done
    "85c0 0f853d010000 817d0005000100 0f8530010000"
    # mov rcx, [rbp + 8 * COUNTED]; cmp rcx, [rbp + 8 * LIMIT]; je done
    "488b4d30 483b4d38 0f8422010000"
    # mov rcx, [rbp + 8 * ENTRY]; cmp dword ptr [rcx + 16], 0; jne done -- all to be looked at
    "488b4d60 83791000 0f8514010000"
    # mov dword ptr [rbp + 8 * STEPPING], 1; and qword ptr [rbp + 8 * BLOCK_SIZE], 0
    "c7456801000000 4883655000"
    # mov rdi, rbx; mov esi, REG_RFLAGS; mov rdx, rsp; mov rax, {read}; call rax
    "4889df befd000000 4889e2 48b8{read} ffd0"
    "810c2400010000"  # or dword ptr [rsp], TF
    # mov rdi, rbx; mov esi, REG_RFLAGS; mov rdx, rsp; mov rax, {write}; call rax
    "4889df befd000000 4889e2 48b8{write} ffd0"
    # step: mov rdi, rbx; mov esi, REG_RIP; lea rdx, [rsp + 8]; mov rax, {read}; call rax
    "4889df be29000000 488d542408 48b8{read} ffd0"
    # mov dword ptr [rbp], 0; mov rdi, rbx; mov rsi, [rsp + 8]; xor edx, edx; xor ecx, ecx
    "c7450000000000 4889df 488b742408 31d2 31c9"
    "4531c0 48b8{start} ffd0"  # xor r8d, r8d; mov rax, {start}; call rax
    "89442410 85c0 7550"  # mov [rsp + 16], eax; test eax, eax; jnz end
    # cmp dword ptr [rbp], TRAP_EXIT; je step; cmp dword ptr [rbp], UNKNOWN_BLOCK; je put
    "817d0041010000 74b4 817d0004000100 7409"
    "817d0006000100 7535"  # cmp dword ptr [rbp], NEW_BLOCK; jne end
    "488b4510 8b5518"  # put: mov rax, [rbp + 8 * PLACE]; mov edx, [rbp + 8 * SIZE]
    # imul r8d, edx, SPREAD; add r8d, eax; and r8d, MASK; shl r8d, 5
    "4469c2e5090000 4101c0 4181e0ff3f0000 41c1e005"
    "4c034540 b901000000"  # add r8, [rbp + 8 * TABLE]; mov ecx, 1
    # mov [r8], rax; mov [r8 + 8], edx; mov [r8 + 12], rcx -- not to be looked at
    "498900 41895008 4989480c"
    "e96dffffff"  # jmp step
    # end: mov rdi, rbx; mov esi, REG_RFLAGS; mov rdx, rsp; mov rax, {read}; call rax
    "4889df befd000000 4889e2 48b8{read} ffd0"
    "812424fffeffff"  # and dword ptr [rsp], ~TF
    # mov rdi, rbx; mov esi, REG_RFLAGS; mov rdx, rsp; mov rax, {write}; call rax
    "4889df befd000000 4889e2 48b8{write} ffd0"
    "c7456800000000 8b442410"  # mov dword ptr [rbp + 8 * STEPPING], 0; mov eax, [rsp + 16]
    "4883c418 5d 5b c3"  # done: add rsp, 0x18; pop rbp; pop rbx; ret
)
_START_PROTOTYPE = ctypes.CFUNCTYPE(
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64),
    ctypes.c_size_t,
)
_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 4)
"""Numbers are passed as pointers: ctypes converts them in half of the time."""


def store_and_stop() -> int | None:
    """Host address of the interrupt hook's callback, None if this host cannot have it.

    `mov [rdx], esi; jmp [rdx + 8]`: RDX, the hook's user data, is the event, and behind its first
    word where to jump, the library's `uc_emu_stop`. A Python callback costs 0.7 us of an exit, and
    a Ctrl-C that arrives inside one is lost.
    """
    return _place(_STORE_AND_STOP)


def enter_block() -> int | None:
    """Host address of the block hook's callback: it counts instructions without a call."""
    return _place(_ENTER_BLOCK)


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


def round_trip() -> Callable[[int, int, int, int], int] | None:
    """The run of a world whose registers are resident as one call (in Python: 1 us more).

    Arguments: the addresses of TRIP_WORDS words and of RESIDENT_WORDS registers, steps, and what to
    hand to CONTROL before (0: nothing). The words are the library's handle and functions, the
    world's context, which goes into the processor before and comes back after the run, where in it
    the general registers (RIP and RFLAGS behind them) and two selectors are, and what START takes
    for the table of blocks. A hook that has saved the context in the middle of the run sets
    HALFWAY, and the registers are its own affair. The result is that of START, inverted.
    """
    return _callable(_ROUND_TRIP)


def batch_trip() -> Callable[[int, int, int, int], int] | None:
    """The run of a thread with a register file as one call, as `round_trip` (in Python: 1 us more).

    The second argument is the address of BATCH_WORDS words: for the library's batch calls the
    numbers of the registers, their places, how many are written and how many read; where RIP is.
    Where the first of EVENT's words is still 0 the run has stopped by executing HLT: then RIP goes
    back to it, and the result is how many instructions were executed before.
    """
    return _callable(_BATCH_TRIP)


def _callable(code: bytes) -> Callable[[int, int, int, int], int] | None:
    address = _place(code)
    return None if address is None else _PROTOTYPE(address)


def _place(code: bytes) -> int | None:
    """Host address of executable `code`, if this host may have it."""
    return _placed(code) if _allowed else None


@contextmanager
def forbidden() -> Iterator[None]:
    """Machines made meanwhile are as on hosts without machine code of ours."""
    global _allowed
    before, _allowed = _allowed, False
    try:
        yield
    finally:
        _allowed = before


_allowed = not os.environ.get("NTSIM_PORTABLE")


@cache
def _placed(code: bytes) -> int | None:
    """The page is never freed."""
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
