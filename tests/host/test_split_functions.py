"""Functions that a compiler has split: parts chained to a primary entry jump into each other.

Source: x64 exception handling, "Chained unwind info structures" and "Unwind procedure".
"""

import struct

import pytest

from ntsim.host.unwind import RSP, WORDS, unwind
from tests.host.test_unwind_codes import BASE, Memory

PRIMARY = bytes.fromhex("01050200 0532 0130")
"""Version 1, a prolog of 5 bytes: sub rsp, 20h; push rbx."""
CALLER, FRAME = 0x7777, 0xFFFF_F000_0000_1000
CALL = b"\xe8\0\0\0\0"


def jump(at: int, to: int) -> bytes:
    return b"\xe9" + struct.pack("<i", to - at - 5)


@pytest.fixture
def split():
    """(image, places behind the calls): `first` and `second` are parts of one function, `other` is
    a function of its own; each place is followed by a jump."""
    memory = Memory()
    start = memory.code
    places = {}
    body = b"\x53\x48\x83\xec\x20"
    for name, to in (("first to second", 0x100), ("first to other", 0x200), ("first to first", 5),
                     ("first to its start", 0), ("first to nowhere", 0x800)):  # fmt: skip
        body += CALL
        places[name] = start + len(body)
        body += jump(len(body), to)
    memory.add(body.ljust(0x100, b"\xcc"), PRIMARY)
    primary = memory.functions[0]
    chained = bytes([0x21, 0, 0, 0])
    chained += struct.pack("<III", primary.begin, primary.end, primary.unwind)
    part = b""
    for name, to in (("second to first", 5), ("second to the start", 0),
                     ("second to its start", 0x100)):  # fmt: skip
        part += CALL
        places[name] = start + 0x100 + len(part)
        part += jump(0x100 + len(part), to)
    memory.add(part.ljust(0x100, b"\xcc"), chained)
    memory.add(b"\x90\xc3".ljust(0x100, b"\xcc"), bytes([1, 0, 0, 0]))
    return memory.image(), places


def caller_of(split, name: str) -> str:
    """Whether the frame is taken as the body's, or as what an epilogue has left."""
    native, places = split
    registers = [0] * WORDS
    registers[RSP] = FRAME
    stack = {FRAME: 0xE, FRAME + 0x20: 0xB, FRAME + 0x28: CALLER}
    found = unwind(native, BASE + places[name], registers, lambda place: stack[place])
    return {CALLER: "body", 0xE: "epilogue"}[found.rip]


@pytest.mark.parametrize(
    "name", ["first to second", "second to first", "first to first", "second to its start"]
)
def test_a_jump_between_parts_is_no_epilogue(split, name: str) -> None:
    assert caller_of(split, name) == "body"


@pytest.mark.parametrize(
    "name", ["first to other", "first to nowhere", "first to its start", "second to the start"]
)
def test_a_jump_to_a_function_is_a_tail_call(split, name: str) -> None:
    assert caller_of(split, name) == "epilogue"
