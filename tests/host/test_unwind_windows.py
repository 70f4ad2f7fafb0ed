"""The unwinder against what Windows answers, and against random functions.

`VECTORS` are stack places: every word of the stack reads as its own distance from the first stack
pointer, so that a row says from where RIP and the registers are to come. Source: Wine,
dlls/ntdll/tests/unwind.c (test_virtual_unwind_x86, which passes on Windows; for the frame in an
epilogue the rows before Windows 11). Random functions are made as Microsoft's x64 prolog and epilog
rules allow, run one instruction at a time and unwound at each of them.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unicorn import x86_const as x86

from ntsim.host.native_image import INDIRECT
from ntsim.host.pe import RuntimeFunction
from ntsim.host.unwind import RSP, WORDS, Frame, unwind
from tests.host.test_unwind_codes import (
    BASE,
    CALLER,
    CHAINED,
    CODE,
    NONVOLATILE,
    SAVE,
    SET_FRAME,
    Function,
    Memory,
    Run,
    Step,
    assembled,
    info_of,
    large,
    push,
    save,
    save_xmm,
    small,
)

STACK = 0x5_0000_0000
RBX, RBP, RSI, RDI, R12 = 3, 5, 6, 7, 12
HANDLER = struct.pack("<II", 0x200, 0x0807_0605)

def code_of(*lines: str | bytes) -> bytes:
    return b"".join(line if isinstance(line, bytes) else assembled(line) for line in lines)


def frame_at(memory: Memory, offset: int, rbp: int) -> Frame:
    registers = [0xAAAA_0000 + number for number in range(WORDS)]
    registers[RSP], registers[RBP] = STACK, STACK + rbp
    return unwind(memory.image(), BASE + CODE + offset, registers, lambda place: place - STACK)


def found(frame: Frame) -> tuple[bool, int, int, int, dict[int, int]]:
    """(handler, place of RIP, frame, stack pointer, places of registers) as the rows have them."""
    changed = {
        number: frame.registers[number]
        for number in NONVOLATILE
        if frame.registers[number] < 0x1000
    }
    rsp = frame.registers[RSP] - STACK
    return bool(frame.handler), frame.rip, frame.establisher - STACK, rsp, changed


FRAME_CODE = code_of(
    b"\xff\xf7", "push rbp", b"\x48\x81\xec\x10\x01\x00\x00", "lea rbp, [rsp + 0x30]",
    b"\x48\x89\x9d\xf0\x00\x00\x00", b"\x48\x89\xb5\xf8\x00\x00\x00", "nop",
    b"\x48\x8b\x9d\xf0\x00\x00\x00", b"\x48\x8b\xb5\xf8\x00\x00\x00",
    b"\x48\x8d\xa5\xe0\x00\x00\x00", "pop rbp", "pop rdi", "ret",
)  # fmt: skip
FRAME_INFO = (
    bytes.fromhex("091d0935 1d642500 16342400 0f03 0a012200 0350 0170 0000") + HANDLER
)
BOTH = {RDI: 0x128, RBP: 0x120}
FRAME_ROWS = [
    (0x00, 0x40, False, 0x000, 0x000, 0x008, {}),
    (0x02, 0x40, False, 0x008, 0x000, 0x010, {RDI: 0}),
    (0x03, 0x40, False, 0x010, 0x000, 0x018, {RDI: 8, RBP: 0}),
    (0x0A, 0x40, False, 0x120, 0x000, 0x128, {RDI: 0x118, RBP: 0x110}),
    (0x0F, 0x40, False, 0x130, 0x010, 0x138, BOTH),
    (0x16, 0x40, False, 0x130, 0x010, 0x138, {**BOTH, RBX: 0x130}),
    (0x1D, 0x40, True, 0x130, 0x010, 0x138, {**BOTH, RBX: 0x130, RSI: 0x138}),
    (0x25, 0x40, True, 0x130, 0x010, 0x138, {**BOTH, RBX: 0x130, RSI: 0x138}),
    (0x2C, 0x40, False, 0x130, 0x010, 0x138, BOTH),
    (0x33, 0x40, False, 0x010, 0x010, 0x018, {RDI: 8, RBP: 0}),
    (0x34, 0x40, False, 0x008, 0x010, 0x010, {RDI: 0}),
    (0x35, 0x40, False, 0x000, 0x010, 0x008, {}),
]

PUSH_CODE = code_of(
    "push rbx", "push rbp", "push rsi", "push rdi", "push r12", "sub rsp, 0x30", "nop", "nop",
    "add rsp, 0x30", "pop r12", "pop rdi", "pop rsi", "pop rbp", "pop rbx", "ret",
)  # fmt: skip
PUSH_INFO = bytes.fromhex("090a0600 0a52 06c0 0470 0360 0250 0130") + HANDLER
WHOLE = {RBX: 0x50, RBP: 0x48, RSI: 0x40, RDI: 0x38, R12: 0x30}
PUSH_ROWS = [
    (0x00, 0x50, False, 0x00, 0, 0x08, {}),
    (0x01, 0x50, False, 0x08, 0, 0x10, {RBX: 0}),
    (0x02, 0x50, False, 0x10, 0, 0x18, {RBX: 8, RBP: 0}),
    (0x04, 0x50, False, 0x20, 0, 0x28, {RBX: 0x18, RBP: 0x10, RSI: 8, RDI: 0}),
    (0x06, 0x50, False, 0x28, 0, 0x30, {RBX: 0x20, RBP: 0x18, RSI: 0x10, RDI: 8, R12: 0}),
    (0x0A, 0x50, True, 0x58, 0, 0x60, WHOLE),
    (0x0C, 0x50, False, 0x58, 0, 0x60, WHOLE),
    (0x10, 0x50, False, 0x28, 0, 0x30, {RBX: 0x20, RBP: 0x18, RSI: 0x10, RDI: 8, R12: 0}),
    (0x14, 0x50, False, 0x10, 0, 0x18, {RBX: 8, RBP: 0}),
    (0x16, 0x50, False, 0x00, 0, 0x08, {}),
]

NO_CODES = code_of("push rbp", "pop rbp", "ret")
ONE_PUSH = bytes.fromhex("01010100 0150 0000")
EPILOGUE_ROWS = [
    (0, 0, False, 0, 0, 8, {}),
    (1, 0, False, 8, 0, 0x10, {RBP: 0}),
    (2, 0, False, 8, 0, 0x10, {RBP: 0}),
    (3, 0, False, 0, 0, 8, {}),
]
BODY_ROWS = [*EPILOGUE_ROWS[:3], (3, 0, False, 8, 0, 0x10, {RBP: 0})]
START = bytes.fromhex("55 90 5d")

VECTORS = {
    "a frame register": (FRAME_CODE, FRAME_INFO, FRAME_ROWS),
    "pushes": (PUSH_CODE, PUSH_INFO, PUSH_ROWS),
    "no codes, no epilogue": (
        NO_CODES, bytes.fromhex("09000000") + HANDLER, [(1, 0x50, True, 0, 0, 8, {})]
    ),
    "a jump behind the function": (START + b"\xeb\x02\x90\xc3", ONE_PUSH, EPILOGUE_ROWS),
    "a jump to its last byte": (START + b"\xeb\x01\x90\xc3", ONE_PUSH, BODY_ROWS),
    "a far jump": (START + b"\xe9\x55\x55\x55\x55\x90\xc3", ONE_PUSH, EPILOGUE_ROWS),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_what_windows_answers(name: str) -> None:
    code, info, rows = VECTORS[name]
    memory = Memory()
    memory.add(code, info)
    for offset, rbp, *expected in rows:
        assert found(frame_at(memory, offset, rbp)) == tuple(expected), hex(offset)


@pytest.mark.parametrize("rex", [None, *range(0x41, 0x49)])
def test_which_indirect_jumps_end_a_function(rex: int | None) -> None:
    """`jmp [rip + n]`, and with REX.W any: compilers mark the jumps of tail calls so."""
    prefix = b"" if rex is None else bytes((rex,))
    for byte in range(256):
        memory = Memory()
        memory.add(START + prefix + bytes((0xFF, byte)) + bytes(9) + b"\xc3", ONE_PUSH)
        leaves = (rex == 0x48 and byte & 0x38 == 0x20) or (rex is None and byte == 0x25)
        rows = EPILOGUE_ROWS if leaves else BODY_ROWS
        for offset, rbp, *expected in rows:
            assert found(frame_at(memory, offset, rbp)) == tuple(expected), (byte, offset)


PARTS = code_of(
    "sub rsp, 0x30", "mov [rsp + 0x10], rbx", "nop", b"\xe9\x0b\x00\x00\x00", "nop",
    "mov rbx, [rsp + 0x10]", "add rsp, 0x30", "ret",
    "push rbp", "sub rsp, 0x50", "lea rbp, [rsp + 0x30]", "mov [rbp + 0x10], rbx",
    b"\xe9\xe3\xff\xff\xff", b"\xe9\x00\x00\x00\x00", "nop", "mov rbx, [rbp + 0x10]",
    "add rsp, 0x50", "pop rbp", "ret",
)  # fmt: skip


@pytest.mark.parametrize("known", [True, False])
def test_a_jump_to_another_part_of_the_function_does_not_leave_it(known: bool) -> None:
    """`known` is whether the exception directory has the part that is jumped to."""
    memory = Memory()
    first = memory.add(PARTS[:0x1A], bytes.fromhex("01090300 09340200 0452 0000"))
    chain = struct.pack("<III", first.begin, first.end, first.unwind)
    part = bytes.fromhex("210e0535 0e340200 0f03 0552 0150 0000") + chain
    memory.add(PARTS[0x1A:], part)
    if not known:
        del memory.functions[0]
    whole = {RBX: 0x10, RBP: 0x30}
    jump = (0x68, 0, 0x70, whole) if known else (0, 0, 8, {})
    rows = [
        (0x1A, 0x30, 0, 0x38, {RBX: 0x10}),
        (0x1B, 0x38, 0, 0x40, {RBX: 0x10, RBP: 0}),
        (0x1F, 0x68, 0, 0x70, whole),
        (0x24, 0x68, 0, 0x70, whole),
        (0x28, *jump),
        (0x2D, 0x68, 0, 0x70, whole),
        (0x33, 0x68, 0, 0x70, whole),
        (0x37, 0x58, 0, 0x60, {RBP: 0x50}),
        (0x3B, 0x08, 0, 0x10, {RBP: 0}),
        (0x3C, 0x00, 0, 0x08, {}),
    ]
    for offset, *expected in rows:
        assert found(frame_at(memory, offset, 0x30))[1:] == tuple(expected), hex(offset)


def test_chains_several_deep_undo_the_inner_parts_first() -> None:
    """Each part saves one register more, as a compiler does that saves what a path needs."""
    memory = Memory()
    whole = Function([push("rbx", RBX), large(0x88)], [])
    last = memory.add(code_of(*(s.text for s in whole.prolog)), info_of(whole))
    registers = [("rsi", RSI, 0x20), ("rdi", RDI, 0x28), ("r12", R12, 0x30), ("rbp", RBP, 0x38)]
    for name, number, place in registers:
        part = Function([save(name, number, place)], [])
        chain = struct.pack("<III", last.begin, last.end, last.unwind)
        text = code_of(part.prolog[0].text, f"mov {name}, 5")
        last = memory.add(text, info_of(part, CHAINED, chain))
    back = [f"mov {name}, [rsp + {place:#x}]" for name, _, place in registers]
    chain = struct.pack("<III", last.begin, last.end, last.unwind)
    memory.add(code_of(*back), info_of(Function([], []), CHAINED, chain))
    run = Run(memory)
    run.check()
    for _ in range(2 + 2 * len(registers)):
        run.step()
        run.check()


def test_an_entry_may_stand_for_another() -> None:
    """RUNTIME_FUNCTION_INDIRECT: the low bit of the unwind information's place."""
    memory = Memory()
    body = code_of("push rbx", "nop")
    made = memory.add(body + code_of("nop", "pop rbx", "ret"), bytes.fromhex("01010100 0130 0000"))
    at = memory.info
    memory.bytes[at : at + 12] = struct.pack("<III", made.begin, made.end, made.unwind)
    memory.functions[0] = RuntimeFunction(made.begin, made.end, at | INDIRECT)
    assert found(frame_at(memory, len(body), 0)) == (False, 8, 0, 0x10, {RBX: 0})


# Random functions

NAMES = {3: "rbx", 5: "rbp", 6: "rsi", 7: "rdi", 12: "r12", 13: "r13", 14: "r14", 15: "r15"}


@st.composite
def functions(draw: st.DrawFn) -> tuple[Function, list[str]]:
    """(a legal function, its instructions): pushes, an allocation of each form, a frame register
    with or without an offset and a dynamic allocation, registers saved in the frame and in the
    caller's home space, vector registers, and an epilogue."""
    order = draw(st.permutations(NONVOLATILE))
    pushed = order[: draw(st.integers(0, 5))]
    others = [number for number in order if number not in pushed]
    sizes = st.one_of(st.integers(1, 8), st.integers(9, 0x40), st.sampled_from((0x8000, 0x11000)))
    size = draw(sizes) * 16 + (0 if len(pushed) % 2 else 8)
    home = others[: draw(st.integers(0, min(2, len(others))))]
    kept = others[len(home) : len(home) + draw(st.integers(0, 2))]
    vectors = draw(st.lists(st.integers(6, 15), unique=True, max_size=3))
    slots = draw(st.permutations(range(0, min(size // 16, 8))))
    places = iter([16 * slot for slot in slots] + ([size - 32] if size > 0x200 else []))
    frame, offset = 0, 0
    if pushed and draw(st.booleans()):
        frame = draw(st.sampled_from(pushed))
        offset = 16 * draw(st.integers(0, min(15, size // 16)))
    prolog = [Step(f"mov [rsp + {8 + 8 * i}], {NAMES[n]}") for i, n in enumerate(home)]
    prolog += [push(NAMES[number], number) for number in pushed]
    prolog.append(small(size) if size <= 0x80 else large(size))
    if frame:
        prolog.append(Step(f"lea {NAMES[frame]}, [rsp + {offset:#x}]", SET_FRAME))
    restores: list[tuple[str, int]] = []
    kept = kept[: len(slots)]
    for number, place in zip(kept, places, strict=False):
        prolog.append(save(NAMES[number], number, place))
        restores.append((f"mov {NAMES[number]}", place))
    for number, place in zip(vectors, places, strict=False):
        prolog.append(save_xmm(number, place))
        restores.append((f"movups xmm{number}", place))
    for i, number in enumerate(home):
        place = size + 8 * len(pushed) + 8 + 8 * i
        words = (place // 8,) if place < 0x8_0000 else (place & 0xFFFF, place >> 16)
        prolog.append(Step("", SAVE if place < 0x8_0000 else SAVE + 1, number, words))
        restores.append((f"mov {NAMES[number]}", place))
    changed = [number for number in (*pushed, *kept, *home) if number != frame]
    body = [f"mov {NAMES[number]}, {number}" for number in changed]
    if frame:
        body.insert(0, f"sub rsp, {draw(st.sampled_from((0x10, 0x200, 0x2340)))}")
    base, less = (NAMES[frame], offset) if frame else ("rsp", 0)
    body += [f"{what}, [{base} + {place - less}]" for what, place in restores]
    body.append(f"lea rsp, [{base} + {size - less}]" if frame else f"add rsp, {size}")
    body += [f"pop {NAMES[number]}" for number in reversed(pushed)]
    body.append(draw(st.sampled_from(("ret", "rex jmp rax"))))
    made = Function(prolog, body, frame=offset | frame if frame else 0)
    return made, [*(step.text for step in prolog), *body]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(functions())
def test_random_functions_are_unwound_everywhere(made: tuple[Function, list[str]]) -> None:
    function, lines = made
    memory = Memory()
    memory.add(code_of(*lines), info_of(function))
    run = Run(memory)
    run.engine.reg_write(x86.UC_X86_REG_RAX, CALLER)
    run.check()
    while run.step():
        run.check()
