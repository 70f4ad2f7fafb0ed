"""`setjmp` and `longjmp` of compiled drivers: the jump buffer's bytes.

The compiler passes setjmp the frame of its caller. With a frame, longjmp unwinds to it, so that
`__finally` blocks on the way run; without, it only loads the registers. Source: Microsoft C
runtime, setjmp.h (struct _JUMP_BUFFER of x64), "longjmp".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ntsim.host.abi_x64 import RDX, RIP, RSP
from ntsim.hw.engine.registers import MXCSR, XMM
from ntsim.hw.mmu import Mmu

_GENERAL = (3, 4, 5, 6, 7, 12, 13, 14, 15)
"""RBX, RSP, RBP, RSI, RDI, R12 to R15, in the buffer's order."""
_XMM = range(XMM + 2 * 6, XMM + 2 * 16)
_BUFFER = struct.Struct("<11QIHH20Q")
_X87_CONTROL = 0x27F


def buffer_bytes(words: Sequence[int], rip: int) -> bytes:
    """What setjmp stores, `words` being its caller's registers when it has returned to `rip`."""
    general = (words[number] for number in _GENERAL)
    vectors = (words[number] for number in _XMM)
    return _BUFFER.pack(words[RDX], *general, rip, words[MXCSR], _X87_CONTROL, 0, *vectors)


def frame_of(mmu: Mmu, buffer: int) -> tuple[int, int]:
    """The frame to unwind to, 0 if there is none, and where to go on in it."""
    return mmu.read_word(buffer), mmu.read_word(buffer + 0x50)


def load_buffer(mmu: Mmu, buffer: int, words: Any) -> None:
    """The registers of a jump buffer."""
    _, *rest = _BUFFER.unpack(mmu.read(buffer, _BUFFER.size))
    for number, value in zip(_GENERAL, rest[:9], strict=True):
        words[number] = value
    words[RIP], words[MXCSR] = rest[9], rest[10]
    words[_XMM.start : _XMM.stop] = rest[13:]


assert RSP in _GENERAL
