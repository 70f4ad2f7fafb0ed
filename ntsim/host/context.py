"""CONTEXT, EXCEPTION_RECORD and DISPATCHER_CONTEXT bytes of compiled code's exceptions.

The general registers and the XMM registers lie in CONTEXT in the order in which the engine's
register file has them. Source: winnt.h; Microsoft, x64 exception handling, "Language-specific
handler".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ntsim.host.abi_x64 import RFLAGS, RIP, RSP
from ntsim.hw.engine.registers import MXCSR, XMM
from ntsim.hw.mmu import Mmu
from ntsim.nt.rtl.exception import StructuredException

CONTEXT_SIZE, RECORD_SIZE, DISPATCHER_SIZE = 0x4D0, 0x98, 0x50
SCOPE_INDEX, RECORD_FLAGS = 0x48, 4
"""Offsets in DISPATCHER_CONTEXT and EXCEPTION_RECORD."""
CONTROL, INTEGER, SEGMENTS, FLOATING = 1, 2, 4, 8
AMD64 = 0x10_0000
ALL = AMD64 | CONTROL | INTEGER | SEGMENTS | FLOATING
NONCONTINUABLE, UNWINDING, EXIT_UNWIND = 1, 2, 4
NESTED_CALL, TARGET_UNWIND, COLLIDED_UNWIND = 0x10, 0x20, 0x40
UNWIND = UNWINDING | EXIT_UNWIND
"""Of ExceptionFlags: a handler is called to clean up, not to decide."""

MOST_PARAMETERS = 15
_FLAGS, _MXCSR, _SELECTORS, _EFLAGS, _GENERAL, _RIP = 0x30, 0x34, 0x38, 0x44, 0x78, 0xF8
_X87, _XMM = 0x100, 0x1A0
_CS, _DS, _SS = 0x10, 0x2B, 0x18
_USER_FS = 0x53
_X87_CONTROL, _X87_MXCSR = 0x27F, 0x18


def context_bytes(words: Sequence[int], rip: int) -> bytearray:
    """A CONTEXT of kernel code at `rip` with a register file's words."""
    data = bytearray(CONTEXT_SIZE)
    struct.pack_into("<II", data, _FLAGS, ALL, words[MXCSR])
    struct.pack_into("<6H", data, _SELECTORS, _CS, _DS, _DS, _USER_FS, _DS, _SS)
    struct.pack_into("<I", data, _EFLAGS, words[RFLAGS] & 0xFFFF_FFFF)
    struct.pack_into("<16Q", data, _GENERAL, *words[0:16])
    struct.pack_into("<Q", data, _RIP, rip)
    struct.pack_into("<H", data, _X87, _X87_CONTROL)
    struct.pack_into("<II", data, _X87 + _X87_MXCSR, words[MXCSR], 0xFFFF)
    struct.pack_into("<32Q", data, _XMM, *words[XMM : XMM + 32])
    return data


def load_context(data: bytes, words: Any) -> None:
    """What ContextFlags ask for, into a register file's words."""
    flags, mxcsr = struct.unpack_from("<II", data, _FLAGS)
    general = struct.unpack_from("<16Q", data, _GENERAL)
    if flags & INTEGER:
        stack = words[RSP]
        words[0:16] = general
        words[RSP] = stack
    if flags & CONTROL:
        words[RSP] = general[RSP]
        (words[RIP],) = struct.unpack_from("<Q", data, _RIP)
        (words[RFLAGS],) = struct.unpack_from("<I", data, _EFLAGS)
    if flags & FLOATING:
        words[XMM : XMM + 32] = struct.unpack_from("<32Q", data, _XMM)
        words[MXCSR] = mxcsr


def record_bytes(error: StructuredException, flags: int = 0) -> bytes:
    """The EXCEPTION_RECORD of an exception."""
    information = error.ExceptionInformation[:MOST_PARAMETERS]
    head = struct.pack(
        "<IIQQI4x",
        error.ExceptionCode & 0xFFFF_FFFF,
        error.ExceptionFlags | flags,
        error.ExceptionRecord,
        error.ExceptionAddress,
        len(information),
    )
    values = (value & 0xFFFF_FFFF_FFFF_FFFF for value in information)
    return (head + struct.pack(f"<{len(information)}Q", *values)).ljust(RECORD_SIZE, b"\0")


def read_record(mmu: Mmu, address: int) -> StructuredException:
    """The exception that an EXCEPTION_RECORD of a driver describes."""
    made = StructuredException(0, reason="raised by the driver")
    refresh(made, mmu.read(address, RECORD_SIZE))
    made.record = address
    return made


def refresh(error: StructuredException, data: bytes) -> None:
    """What the bytes of an EXCEPTION_RECORD say of an exception."""
    code, flags, chained, where, count = struct.unpack_from("<IIQQI", data)
    error.ExceptionCode, error.ExceptionFlags, error.ExceptionRecord = code, flags, chained
    error.ExceptionAddress = where
    parameters = min(count, MOST_PARAMETERS)
    error.ExceptionInformation = struct.unpack_from(f"<{parameters}Q", data, 0x20)


def dispatcher_bytes(
    control: int, base: int, function: int, frame: int, target: int, context: int, handler: int,
    data: int, scope: int,
) -> bytes:  # fmt: skip
    """A DISPATCHER_CONTEXT: addresses, but for `scope`, the first index of the scope table."""
    return struct.pack(
        "<9QII", control, base, function, frame, target, context, handler, data, 0, scope, 0
    )
