"""Faults of the processor and raised exceptions under __try: driver/c/faults.c.

Of each: code, number of parameters, the first two, the byte at the place, and ExceptionFlags. The
place is RIP of the context. Source: SDM 3, "Exception and Interrupt Reference"; Win32,
EXCEPTION_RECORD and EXCEPTION_INT_OVERFLOW; WDK ExRaiseStatus, ExRaiseAccessViolation; ReactOS,
KiDebugServiceTrap and KdpStub for INT 2Dh.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ntsim.host.division import overflows

FAULTS = Path(__file__).parents[2] / "driver/c/faults.sys"
ALL_ONES = "ffffffffffffffff"

LINES = [
    "DivideByZero: c0000094, 0, 0 0, byte f7, at RIP, flags 0",
    "DivideOverflow: c0000095, 0, 0 0, byte f7, at RIP, flags 0",
    "DivideOverflow64: c0000095, 0, 0 0, byte 49, at RIP, flags 0",
    "DivideInMemory: c0000095, 0, 0 0, byte f7, at RIP, flags 0",
    "DivideByteInMemory: c0000094, 0, 0 0, byte f6, at RIP, flags 0",
    "Illegal: c000001d, 0, 0 0, byte f, at RIP, flags 0",
    "Breakpoint: 80000003, 1, 0 0, byte cc, at RIP, flags 0",
    "DebugPrint: went on",
    "DebugService: 80000003, 3, 77 5, byte 90, at RIP, flags 0",
    "Assertion: c0000420, 0, 0 0, byte cd, at RIP, flags 0",
    f"NoGate: c0000005, 2, 0 {ALL_ONES}, byte cd, at RIP, flags 0",
    f"NotCanonical: c0000005, 2, 0 {ALL_ONES}, byte 48, at RIP, flags 0",
    "Privileged: c0000096, 0, 0 0, byte f, at RIP, flags 0",
    "Status: 80000011, 0, 0 0, byte 90, at RIP, flags 1",
    "AccessViolation: c0000005, 0, 0 0, byte 90, at RIP, flags 1",
    "DatatypeMisalignment: 80000002, 0, 0 0, byte 90, at RIP, flags 1",
    "Read: c0000005, 2, 0 10, byte 8b, at RIP, flags 0",
    "Write: c0000005, 2, 1 10, byte 89, at RIP, flags 0",
    "Status: 80000011, 0, 0 0, byte 90, at RIP, flags 1",
    "DivideByZero: c0000094, 0, 0 0, byte f7, at RIP, flags 0",
    "SingleStep: 80000004, 0, 0 0, byte 90, at RIP, flags 0",
    "Direction: c000001d, 0, 0 0, byte f, at RIP, flags 0",
    "behind std: 0",
]


def test_faults_under_try_are_what_they_are_on_windows(ntsim_machine) -> None:
    machine = ntsim_machine(seed=2)
    machine.load_driver(FAULTS)
    assert machine.debug_output == LINES


@pytest.mark.parametrize(
    ("code", "divisor"),
    [
        ("f6 f1", 0x100), ("f6 f5", 0x1_00FF), ("40 f6 f5", 0), ("66 f7 f9", 0x1_0000),
        ("48 f7 f9", 0xFFFF_FFFF), ("41 f7 f0", 0), ("90", 5),
    ],
)  # fmt: skip
def test_registers_of_each_size(code: str, divisor: int) -> None:
    """CL, CH, BPL, CX, RCX and R8D, whose other bits do not count; and no division at all."""
    words = [0] * 18
    words[1] = divisor
    mmu: Any = SimpleNamespace(read=lambda place, size: bytes.fromhex(code)[:size])
    assert overflows(mmu, words, 0x1000) is (code == "48 f7 f9")


@pytest.mark.parametrize(
    ("code", "address"),
    [
        ("f7 31", 0x2000), ("f7 71 10", 0x2010), ("f7 b1 00 01 00 00", 0x2100),
        ("f7 35 10 00 00 00", 0x1016), ("f7 34 d1", 0x2018), ("f7 34 d5 00 01 00 00", 0x118),
        ("4b f7 74 08 f0", 0x3010), ("f7 34 24", 0x4000), ("f7 75 00", 0x5000),
    ],
)  # fmt: skip
def test_operands_in_memory(code: str, address: int) -> None:
    words = [0] * 18
    words[1], words[2], words[4] = 0x2000, 3, 0x4000
    words[5], words[8] = 0x5000, 0x3020
    asked = []

    def read(place: int, size: int) -> bytes:
        if place == 0x1000:
            return bytes.fromhex(code)[:size]
        asked.append(place)
        return b"\1" * size

    mmu: Any = SimpleNamespace(read=read, probe=lambda place: place)
    assert overflows(mmu, words, 0x1000)
    assert asked == [address]
