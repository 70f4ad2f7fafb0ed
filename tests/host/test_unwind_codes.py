"""Every unwind code, at every instruction of a function that has it.

Each function is assembled, run one instruction at a time on the emulator, and unwound where it
stands: its caller's return address, stack pointer and non-volatile registers have to come out. The
UNWIND_INFO is made here, from the prolog's instructions. Source: Microsoft, x64 exception handling,
"struct UNWIND_INFO", "struct UNWIND_CODE", "Chained unwind info structures".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import unicorn
from keystone import KS_ARCH_X86, KS_MODE_64, Ks
from unicorn import x86_const as x86

from ntsim.host.native_image import NativeImage
from ntsim.host.pe import PeError, RuntimeFunction
from ntsim.host.unwind import RSP, WORDS, XMM, Frame, unwind
from ntsim.nt.mm.images import Image

BASE, CODE, INFO, SIZE = 0x1_8000_0000, 0x1000, 0x3000, 0x4000
STACK, STACK_SIZE = 0x2_0000_0000, 0x40_0000
TOP, CALLER = STACK + STACK_SIZE - 0x1000, 0x1_9000_0123
RBX, RBP, RSI, RDI = 3, 5, 6, 7
NONVOLATILE = (RBX, RBP, RSI, RDI, 12, 13, 14, 15)
(PUSH, ALLOC_LARGE, ALLOC_SMALL, SET_FRAME, SAVE, SAVE_FAR, EPILOG, _, SAVE_XMM, SAVE_XMM_FAR,
 MACHINE_FRAME) = range(11)  # fmt: skip
CHAINED = 4

GENERAL = (
    x86.UC_X86_REG_RAX, x86.UC_X86_REG_RCX, x86.UC_X86_REG_RDX, x86.UC_X86_REG_RBX,
    x86.UC_X86_REG_RSP, x86.UC_X86_REG_RBP, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDI,
    *range(x86.UC_X86_REG_R8, x86.UC_X86_REG_R15 + 1),
)  # fmt: skip


@dataclass
class Step:
    """An instruction of a prolog, and the code it has: operation, info, words that follow."""

    text: str
    operation: int = -1
    info: int = 0
    words: tuple[int, ...] = ()


@dataclass
class Function:
    """`prolog`, then the rest; `frame` is the frame register and its offset in units of 16."""

    prolog: list[Step]
    rest: list[str]
    frame: int = 0
    version: int = 1
    epilogs: tuple[tuple[int, int], ...] = ()


def small(size: int) -> Step:
    return Step(f"sub rsp, {size:#x}", ALLOC_SMALL, size // 8 - 1)


def large(size: int) -> Step:
    words = (size // 8,) if size < 0x8_0000 else (size & 0xFFFF, size >> 16)
    return Step(f"sub rsp, {size:#x}", ALLOC_LARGE, int(size >= 0x8_0000), words)


def push(name: str, number: int) -> Step:
    return Step(f"push {name}", PUSH, number)


def save(name: str, number: int, place: int) -> Step:
    far = place >= 0x8_0000
    words = (place & 0xFFFF, place >> 16) if far else (place // 8,)
    return Step(f"mov [rsp + {place:#x}], {name}", SAVE_FAR if far else SAVE, number, words)


def save_xmm(number: int, place: int) -> Step:
    far = place >= 0x10_0000
    words = (place & 0xFFFF, place >> 16) if far else (place // 16,)
    operation = SAVE_XMM_FAR if far else SAVE_XMM
    return Step(f"movaps [rsp + {place:#x}], xmm{number}", operation, number, words)


PUSHES = [push("rbx", 3), push("rbp", 5), push("rsi", 6), push("rdi", 7)]
POPS = ["pop rdi", "pop rsi", "pop rbp", "pop rbx", "ret"]
CLOBBER = ["xor ebx, ebx", "mov esi, 1", "xorps xmm6, xmm6", "xorps xmm15, xmm15"]

FUNCTIONS = {
    "a leaf's frame of 8 bytes": Function([small(8)], ["nop", "add rsp, 8", "ret"]),
    "PUSH_NONVOL of old registers": Function(PUSHES, [*CLOBBER[:2], *POPS]),
    "PUSH_NONVOL of new registers": Function(
        [push("r12", 12), push("r13", 13), push("r14", 14), push("r15", 15), small(0x28)],
        ["mov r12, 1", "mov r15, 2", "add rsp, 0x28", "pop r15", "pop r14", "pop r13", "pop r12",
         "ret"],
    ),
    "ALLOC_SMALL, the largest": Function(
        [push("rbx", 3), small(0x80)], ["xor ebx, ebx", "add rsp, 0x80", "pop rbx", "ret"]
    ),
    "ALLOC_LARGE in 8 bytes": Function(
        [push("rbx", 3), large(0x88)], ["xor ebx, ebx", "add rsp, 0x88", "pop rbx", "ret"]
    ),
    "ALLOC_LARGE in 8 bytes, the largest": Function(
        [push("rbx", 3), large(0x7_FFF8)], ["xor ebx, ebx", "add rsp, 0x7fff8", "pop rbx", "ret"]
    ),
    "ALLOC_LARGE in bytes": Function(
        [push("rbx", 3), large(0x9_0008)], ["xor ebx, ebx", "add rsp, 0x90008", "pop rbx", "ret"]
    ),
    "SET_FPREG without an offset": Function(
        [push("rbx", 3), push("rbp", 5), Step("mov rbp, rsp", SET_FRAME)],
        ["sub rsp, 0x1230", "xor ebx, ebx", "lea rsp, [rbp]", "pop rbp", "pop rbx", "ret"],
        frame=5,
    ),
    "SET_FPREG with an offset": Function(
        [*PUSHES[:2], small(0x60), Step("lea rbp, [rsp + 0x40]", SET_FRAME)],
        ["sub rsp, 0x2000", "xor ebx, ebx", "lea rsp, [rbp + 0x20]", "pop rbp", "pop rbx", "ret"],
        frame=4 << 4 | 5,
    ),
    "SET_FPREG of r13, registers saved behind it": Function(
        [push("r13", 13), small(0x50), Step("lea r13, [rsp + 0xf0]", SET_FRAME),
         save("rsi", 6, 0x20), save_xmm(6, 0x30)],
        ["sub rsp, 0x100", *CLOBBER[1:3], "movaps xmm6, [r13 - 0xc0]", "mov rsi, [r13 - 0xd0]",
         "lea rsp, [r13 - 0xa0]", "pop r13", "ret"],
        frame=15 << 4 | 13,
    ),
    "SAVE_NONVOL": Function(
        [push("rbx", 3), small(0x40), save("rsi", 6, 0x50), save("rdi", 7, 0x20)],
        ["xor esi, esi", "xor edi, edi", "mov rdi, [rsp + 0x20]", "mov rsi, [rsp + 0x50]",
         "add rsp, 0x40", "pop rbx", "ret"],
    ),
    "SAVE_NONVOL_FAR": Function(
        [large(0x9_0008), save("rsi", 6, 0x8_8000), save("rbx", 3, 0x10)],
        ["xor esi, esi", "xor ebx, ebx", "mov rbx, [rsp + 0x10]", "mov rsi, [rsp + 0x88000]",
         "add rsp, 0x90008", "ret"],
    ),
    "SAVE_XMM128": Function(
        [small(0x48), save_xmm(6, 0x20), save_xmm(15, 0x30)],
        [*CLOBBER[2:], "movaps xmm15, [rsp + 0x30]", "movaps xmm6, [rsp + 0x20]", "add rsp, 0x48",
         "ret"],
    ),
    "SAVE_XMM128_FAR": Function(
        [large(0x11_0008), save_xmm(6, 0x10_0010), save_xmm(15, 0x20)],
        [*CLOBBER[2:], "movaps xmm15, [rsp + 0x20]", "movaps xmm6, [rsp + 0x100010]",
         "add rsp, 0x110008", "ret"],
    ),
    "version 2, an epilog at the end and one before": Function(
        [push("rbx", 3), small(0x20)],
        ["test ecx, ecx", "nop", "xor ebx, ebx", "add rsp, 0x20", "pop rbx", "ret"],
        version=2,
        epilogs=((2, 1), (9, 0)),
    ),
    "a tail call through rax": Function(
        [push("rbx", 3), small(0x20)], ["xor ebx, ebx", "add rsp, 0x20", "pop rbx", "rex jmp rax"]
    ),
    "a tail call through r10": Function(
        [push("rbx", 3), small(0x20)], ["xor ebx, ebx", "add rsp, 0x20", "pop rbx", "rex jmp r10"]
    ),
}  # fmt: skip


@cache
def assembler() -> Ks:
    return Ks(KS_ARCH_X86, KS_MODE_64)


REX_JUMPS = {"rex jmp rax": bytes.fromhex("48ffe0"), "rex jmp r10": bytes.fromhex("49ffe2")}
"""How compilers write a tail call, to tell it from the jump of a switch."""


def assembled(text: str) -> bytes:
    if not text:
        return b""
    if text in REX_JUMPS:
        return REX_JUMPS[text]
    return bytes(assembler().asm(text)[0])


def info_of(function: Function, flags: int = 0, after: bytes = b"") -> bytes:
    """Its UNWIND_INFO; `after` is what follows the codes."""
    codes, length = b"", 0
    for step in function.prolog:
        length += len(assembled(step.text))
        if step.operation >= 0:
            entry = struct.pack("<BB", length, step.info << 4 | step.operation)
            codes = entry + struct.pack(f"<{len(step.words)}H", *step.words) + codes
    head = b"".join(struct.pack("<BB", at, info << 4 | EPILOG) for at, info in function.epilogs)
    codes = head + codes
    count = len(codes) // 2
    first = struct.pack("<BBBB", flags << 3 | function.version, length, count, function.frame)
    return first + codes + bytes(len(codes) & 2) + after


class Memory:
    """An image with functions and their UNWIND_INFOs."""

    def __init__(self) -> None:
        self.bytes, self.functions = bytearray(SIZE), []
        self.code, self.info = CODE, INFO

    def add(self, code: bytes, info: bytes) -> RuntimeFunction:
        self.bytes[self.code : self.code + len(code)] = code
        self.bytes[self.info : self.info + len(info)] = info
        made = RuntimeFunction(self.code, self.code + len(code), self.info)
        self.functions.append(made)
        self.code, self.info = made.end, self.info + -(-len(info) // 4) * 4
        return made

    def number(self, at: int, size: int) -> int:
        if not 0 <= at <= SIZE - size:
            raise PeError("outside the image")
        return int.from_bytes(self.bytes[at : at + size], "little")

    def image(self) -> NativeImage:
        pe: Any = SimpleNamespace(
            memory=self.bytes, number=self.number, functions=self.functions, sections=[]
        )
        debug: Any = SimpleNamespace(at=lambda place: None)
        image = Image("codes.sys", BASE, SIZE, BASE + SIZE, BASE + SIZE)
        return NativeImage(image, pe, BASE, debug, [f.begin for f in self.functions])


class Run:
    """The emulator at the beginning of a function that CALLER called."""

    def __init__(self, memory: Memory) -> None:
        self.native = memory.image()
        self.engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.engine.mem_map(BASE, SIZE)
        self.engine.mem_write(BASE, bytes(memory.bytes))
        self.engine.mem_map(STACK, STACK_SIZE)
        self.engine.mem_map(CALLER & ~0xFFF, 0x1000)
        self.stack = TOP - 8
        for number, register in enumerate(GENERAL):
            self.engine.reg_write(register, 0x1111_0000_0000_0000 + number)
        for number in range(16):
            self.engine.reg_write(x86.UC_X86_REG_XMM0 + number, number << 96 | 0xF0 + number)
        self.engine.mem_write(self.stack, struct.pack("<Q", CALLER))
        self.engine.reg_write(x86.UC_X86_REG_RSP, self.stack)
        self.rip = BASE + CODE
        self.before = self.registers()

    def registers(self) -> list[int]:
        values = [0] * WORDS
        for number, register in enumerate(GENERAL):
            values[number] = self.engine.reg_read(register)
        for number in range(16):
            value = self.engine.reg_read(x86.UC_X86_REG_XMM0 + number)
            values[XMM + 2 * number : XMM + 2 * number + 2] = value & (1 << 64) - 1, value >> 64
        return values

    def read(self, place: int) -> int:
        return int.from_bytes(self.engine.mem_read(place, 8), "little")

    def step(self) -> bool:
        """One instruction; False if that left the image."""
        self.engine.emu_start(self.rip, 0, count=1)
        self.rip = self.engine.reg_read(x86.UC_X86_REG_RIP)
        return BASE <= self.rip < BASE + SIZE

    def unwound(self) -> Frame:
        return unwind(self.native, self.rip, self.registers(), self.read)

    def check(self) -> None:
        frame = self.unwound()
        kept = [*NONVOLATILE, *range(XMM + 12, XMM + 32)]
        expected = {number: self.before[number] for number in kept}
        assert {number: frame.registers[number] for number in kept} == expected, hex(self.rip)
        assert (frame.rip, frame.registers[RSP]) == (CALLER, self.stack + 8), hex(self.rip)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_caller_comes_out_wherever_the_function_is(name: str) -> None:
    function, memory = FUNCTIONS[name], Memory()
    lines = [*(step.text for step in function.prolog), *function.rest]
    memory.add(b"".join(map(assembled, lines)), info_of(function))
    run = Run(memory)
    for register in (x86.UC_X86_REG_RAX, x86.UC_X86_REG_R10):  # where the tail calls go
        run.engine.reg_write(register, CALLER)
    run.check()
    instructions = 0
    while run.step():
        run.check()
        instructions += 1
    assert instructions == len(lines) - 1


def test_a_chained_part_undoes_its_own_codes_and_then_the_functions() -> None:
    """A compiler saves a register where it is needed only: the part has no prolog of the rest."""
    whole = Function([push("rbx", 3), large(0x88)], ["xor ebx, ebx"])
    part = Function([save("rsi", 6, 0x60), save_xmm(7, 0x40)], [])
    memory = Memory()
    first = memory.add(
        b"".join(map(assembled, [*(s.text for s in whole.prolog), *whole.rest])), info_of(whole)
    )
    chain = struct.pack("<III", first.begin, first.end, first.unwind)
    body = [*(s.text for s in part.prolog), "xor esi, esi", "xorps xmm7, xmm7"]
    back = ["movaps xmm7, [rsp + 0x40]", "mov rsi, [rsp + 0x60]"]
    memory.add(b"".join(map(assembled, [*body, *back])), info_of(part, CHAINED, chain))
    rest = Function([], [])  # chained as well, without codes: where the function ends
    end = b"".join(map(assembled, ["nop", "add rsp, 0x88", "pop rbx", "ret"]))
    memory.add(end, info_of(rest, CHAINED, chain))
    run = Run(memory)
    run.check()
    instructions = 0
    while run.step():
        run.check()
        instructions += 1
    assert instructions == 3 + 4 + 2 + 3


@pytest.mark.parametrize("error_code", [0, 1])
def test_a_machine_frame_gives_the_interrupted_place(error_code: int) -> None:
    """An interrupt pushes SS, RSP, RFLAGS, CS and RIP, an exception may push an error code."""
    memory, interrupted = Memory(), TOP - 0x900
    pushes = [Step("", MACHINE_FRAME, error_code), push("rbp", 5), small(0x40)]
    made = Function(pushes, [])
    made.prolog[0].text = "nop"
    lines = ["nop", "push rbp", "sub rsp, 0x40", "xor ebp, ebp", "nop"]
    memory.add(b"".join(map(assembled, lines)), info_of(made))
    run = Run(memory)
    frame = [0xE0] * error_code + [CALLER, 0x10, 0x202, interrupted, 0x18]
    run.stack = TOP - 0x100
    run.engine.mem_write(run.stack, struct.pack(f"<{len(frame)}Q", *frame))
    run.engine.reg_write(x86.UC_X86_REG_RSP, run.stack)
    run.step()  # the frame is there from the first instruction; its code's offset is behind a nop
    for _ in range(4):
        found = run.unwound()
        assert (found.rip, found.registers[RSP]) == (CALLER, interrupted)
        assert found.registers[RBP] == run.before[RBP]
        run.step()


def test_a_chain_that_never_ends_and_info_outside_the_image_are_a_leafs_frame() -> None:
    memory = Memory()
    head = struct.pack("<BBBB", CHAINED << 3 | 1, 0, 0, 0)
    code = assembled("nop") * 8
    memory.add(code, head + struct.pack("<III", CODE, CODE + len(code), INFO))
    run = Run(memory)
    run.check()
    memory.functions[0] = RuntimeFunction(CODE, CODE + len(code), SIZE - 2)
    run = Run(memory)
    run.check()
