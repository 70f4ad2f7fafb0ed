"""The legacy region of extended state, as FXSAVE stores it. Source: SDM 2, FXSAVE, 64-bit mode."""

from __future__ import annotations

import struct
from typing import Any

SIZE = 512
_CONTROL, _MXCSR, _XMM = 0x00, 0x18, 0xA0
_MXCSR_WORD, _XMM_WORD = 20, 22
"""Words of a register file; the sixteen registers have two each."""

_FNINIT, _MXCSR_RESET, _MXCSR_MASK = 0x27F, 0x1F80, 0xFFFF


def fxsave(words: Any) -> bytes:
    """The region with the XMM registers and MXCSR of a register file; None has what reset leaves.

    The x87 registers are as FNINIT leaves them: no register file has them.
    """
    data = bytearray(SIZE)
    struct.pack_into("<H", data, _CONTROL, _FNINIT)
    mxcsr = _MXCSR_RESET if words is None else words[_MXCSR_WORD]
    struct.pack_into("<II", data, _MXCSR, mxcsr, _MXCSR_MASK)
    if words is not None:
        struct.pack_into("<32Q", data, _XMM, *words[_XMM_WORD : _XMM_WORD + 32])
    return bytes(data)


def fxrstor(data: bytes, words: Any) -> None:
    """XMM registers and MXCSR of the region into a register file."""
    (words[_MXCSR_WORD],) = struct.unpack_from("<I", data, _MXCSR)
    words[_XMM_WORD : _XMM_WORD + 32] = struct.unpack_from("<32Q", data, _XMM)
