"""Compiler intrinsics for IN and OUT, and a few instructions that hardly any driver needs.

Source: Microsoft C/C++, "x64 intrinsics" (names and arguments); SDM 2, IN, INS, OUT, OUTS, POPF,
XGETBV, XSETBV.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

from ntsim.errors import UnmodelledRoutine
from ntsim.host.intrinsics import intrinsic, privileged, stepped_kernel
from ntsim.hw.cpu import CR4_OSXSAVE, RFLAGS_IF
from ntsim.hw.exceptions import invalid_opcode

_SIZES = {"byte": 1, "word": 2, "dword": 4}
_FLAGS = 0x3F_7FD5
"""Those of RFLAGS that POPF can load, IF among them."""


def _in(what: str, size: int) -> Callable[[int], int]:
    def read(port: int) -> int:
        value = privileged(name)[1].port_in(index(port), size)
        return value & (1 << 8 * size) - 1

    name = read.__name__ = f"__in{what}"
    read.__doc__ = f"IN of {size} bytes."
    return read


def _out(what: str, size: int) -> Callable[[int, int], None]:
    def write(port: int, value: int) -> None:
        value = index(value) & (1 << 8 * size) - 1
        privileged(name)[1].port_out(index(port), size, value)

    name = write.__name__ = f"__out{what}"
    write.__doc__ = f"OUT of {size} bytes."
    return write


def _in_string(what: str, size: int) -> Callable[[int, Any, int], None]:
    def read(port: int, buffer: Any, count: int) -> None:
        place = int(buffer)
        for number in range(index(count)):
            nt, processor = privileged(name)
            value = processor.port_in(index(port), size) & (1 << 8 * size) - 1
            nt.mmu.write(place + size * number, value.to_bytes(size, "little"))

    name = read.__name__ = f"__in{what}string"
    read.__doc__ = f"REP INS of {size} bytes each."
    return read


def _out_string(what: str, size: int) -> Callable[[int, Any, int], None]:
    def write(port: int, buffer: Any, count: int) -> None:
        place = int(buffer)
        for number in range(index(count)):
            nt, processor = privileged(name)
            data = nt.mmu.read(place + size * number, size)
            processor.port_out(index(port), size, int.from_bytes(data, "little"))

    name = write.__name__ = f"__out{what}string"
    write.__doc__ = f"REP OUTS of {size} bytes each."
    return write


for _what, _size in _SIZES.items():
    for _make in (_in, _out, _in_string, _out_string):
        intrinsic(_make(_what, _size))


@intrinsic
def __writeeflags(value: int) -> None:
    """POPFQ; in user mode it leaves IF alone."""
    nt = stepped_kernel("__writeeflags")
    processor, wanted = nt.il.current, index(value) & _FLAGS
    if nt.in_user_mode():
        wanted = wanted & ~RFLAGS_IF | processor.rflags & RFLAGS_IF
    before = processor.rflags
    processor.rflags = before & ~_FLAGS | wanted & ~RFLAGS_IF | before & RFLAGS_IF
    if before & RFLAGS_IF and not wanted & RFLAGS_IF:
        nt.interrupts_off(processor, "POPF")
    elif wanted & RFLAGS_IF and not before & RFLAGS_IF:
        nt.interrupts_back_on(processor, "POPF")


@intrinsic
def __fastfail(code: int) -> None:
    """INT 29h: 0x139 with the code."""
    stepped_kernel("__fastfail").fast_fail(index(code) & 0xFFFF_FFFF, "__fastfail")


@intrinsic
def _xgetbv(register: int) -> int:
    """XGETBV: #UD, because the kernel leaves CR4.OSXSAVE clear; the processor has no AVX."""
    _extended_state("_xgetbv")
    return 0


@intrinsic
def _xsetbv(register: int, value: int) -> None:
    """XSETBV: #UD, as XGETBV."""
    _extended_state("_xsetbv")


def _extended_state(name: str) -> None:
    nt = stepped_kernel(name)
    if nt.il.current.cr4 & CR4_OSXSAVE:
        why = "CR4.OSXSAVE was set by the driver; what XSAVE saves is not modelled"
        nt.fail(UnmodelledRoutine(name, why))
    nt.ki.processor_operation(_undefined, f"{name} with CR4.OSXSAVE clear")


def _undefined(why: str) -> None:
    raise invalid_opcode(why)
