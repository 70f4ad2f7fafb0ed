"""Runs end at the same instruction whoever counts: the library, or our host code by blocks."""

from collections.abc import Iterator
from random import Random
from typing import Any

import capstone
import keystone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntsim.hw.engine import Engine, ExitKind, hostcode
from ntsim.hw.engine.lengths import Kind, instructions
from ntsim.hw.engine.native import Native
from ntsim.hw.engine.selftest import CODE_PA, CODE_VA, DATA_PA, DATA_VA, STACK_PA, STACK_VA, Bench
from ntsim.hw.ram import PAGE_SIZE, Ram

MEMORY = 0x10_0000
_PIECES = (
    "add rax, rbx",
    "mov [rsi + 8], rax; mov rcx, [rsi + 16]",
    "push rax; pop rdx",
    "pushfq; pop r10",
    "pushfq; popfq",
    "lea rdi, [rsi + 0x200]; push rcx; push rsi; mov ecx, 5; rep movsb; pop rsi; pop rcx",
    "mov ecx, 3; l{n}: inc r8; dec ecx; jnz l{n}",
    "test al, 1; jz s{n}; imul rbx, rax, 7; s{n}: xor rbx, 0x55",
    "call c{n}; jmp e{n}; c{n}: inc r9; ret; e{n}: nop",
    "mov dx, 0x60; out dx, al; in al, dx; add r11, rax",
    "cpuid",
    "pause",
    "mov cr8, rax",
    "movdqa xmm0, xmm1; paddq xmm0, xmm0; movq r12, xmm0",
    "mov r13, [r14]",
    "mov [r14], r13",
    "ud2",
    "cli; sti; nop; nop",
    "and eax, 0xff; div cl",
    "lock inc qword ptr [rsi]",
    "xor r15d, r15d; mov ss, r15d; inc rbx; mov ss, r15d; mov rax, [r14]",
    "push 0x202; popfq; mov ss, r15d; nop",
    "lea rdi, [rsi + 0xff0]; mov ecx, 40; rep stosb; mov ecx, 1",
    "lea rdi, [rsi + 0x300]; mov ecx, 9; push rsi; repe cmpsb; pop rsi",
)
_ALIAS_VA = 0xFFFF_F800_0060_0000
_REWRITING = (
    *_PIECES,
    "vaddps xmm0, xmm1, xmm2",
    "movd xmm1, eax; inc rax; vpaddd xmm0, xmm1, xmm2; movd ecx, xmm0; add rbx, rcx",
    "inc byte ptr [rip + m{n} + 1]; nop; m{n}: mov al, 5",
    "inc byte ptr [rip + m{n} + 1]; jmp m{n}; m{n}: mov al, 5",
    "lea rdx, [rip + m{n} + 1]; add rdx, 0x600000; inc byte ptr [rdx]; m{n}: mov al, 5",
    "mov ecx, 3; l{n}: inc r8; inc byte ptr [rip + x{n} + 1]; x{n}: mov al, 3; dec ecx; jnz l{n}",
    "xor word ptr [rip + m{n}], 0xf0f6; nop; m{n}: nop; xchg ax, ax",  # two instructions or one
    "lea rdi, [rip + m{n}]; mov al, 0x90; mov ecx, 3; rep stosb; jmp m{n}; m{n}: inc rbx",
)


@pytest.fixture(scope="module")
def library() -> Native:
    """An instance that counts as hosts do where no machine code of ours can run."""
    return Native(count_in_library=True)


def program(pieces: list[str]) -> bytes:
    text = "; ".join(piece.format(n=number) for number, piece in enumerate(pieces)) + "; hlt"
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64).asm(text)
    return bytes(code)


def trail(bench: Bench, code: bytes, steps: list[int]) -> list[tuple[Any, ...]]:
    """What each run of a program shows, an exit being passed over."""
    bench.ram.write(DATA_PA, bytes(range(256)) * 8)
    bench.ram.write(STACK_PA, bytes(PAGE_SIZE))
    bench.put(code)
    registers = bench.registers
    registers.words[:16] = [3 * i + 1 for i in range(16)]
    registers.rsp = STACK_VA + PAGE_SIZE - 0x100
    registers.rsi, registers.r14, registers.rflags = DATA_VA, 0x1000, 2
    seen: list[tuple[Any, ...]] = []
    for number in steps:
        found = bench.go(number)
        memory = hash(bytes(bench.ram.map[DATA_PA : DATA_PA + PAGE_SIZE]))
        stack = hash(bytes(bench.ram.map[STACK_PA : STACK_PA + PAGE_SIZE]))
        words = tuple(registers.words[:18])
        seen.append((found.kind.name, found.rip - CODE_VA, found.retired, words, memory, stack))
        if found.kind is ExitKind.HLT:
            break
        if found.kind is ExitKind.IO:
            continue  # RIP is behind it
        if found.kind is not ExitKind.QUANTUM_END:
            registers.rip += length(bench, found.rip)
    return seen


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(_REWRITING), min_size=1, max_size=10),
    st.lists(st.integers(1, 30), min_size=200, max_size=200),
)
def test_code_that_rewrites_itself_counts_the_same_however_it_is_cut(
    pieces: list[str], steps: list[int]
) -> None:
    """What a run shows after some number of instructions is what single steps show there."""
    if hostcode.enter_block() is None:
        pytest.skip("the library counts: an instruction that rewrites its block twice")
    code = program(pieces)
    whole, cut = Bench(), Bench()
    try:
        for bench in (whole, cut):
            bench.map(_ALIAS_VA, CODE_PA)
        alone = dict(states(whole, code, [1] * 2000))
        for at, state in states(cut, code, steps):
            assert alone[at] == state, (pieces, at)
    finally:
        whole.engine.close()
        cut.engine.close()


def states(bench: Bench, code: bytes, steps: list[int]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """How many instructions a program has executed, and what it has done by then.

    An instruction that is passed over counts as one.
    """
    done = 0
    for kind, rip, retired, *state in trail(bench, code, steps):
        done += retired + (kind not in ("QUANTUM_END", "HLT"))
        if kind == "QUANTUM_END":
            yield done, (rip, *state)


def length(bench: Bench, rip: int) -> int:
    code = bench.world.view.read(rip, 15)
    return next(
        n for n in range(1, 16) if (found := instructions(code[:n], 64)) and found[0] == [0]
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(_PIECES), min_size=1, max_size=12),
    st.lists(st.integers(1, 30), min_size=1, max_size=60),
)
def test_both_ways_of_counting_stop_at_the_same_places(
    library: Native, pieces: list[str], steps: list[int]
) -> None:
    code = program(pieces)
    by_block, in_library = Bench(), Bench(Engine.on(library, Ram(MEMORY)))
    try:
        expected = trail(in_library, code, steps)
        assert trail(by_block, code, steps) == expected
    finally:
        by_block.engine.close()
        library.unmap_ram()


def test_blocks_are_counted_where_the_host_allows_it(bench: Bench) -> None:
    bench.run(bytes.fromhex("90f4"))
    assert bench.world.native.by_block is (hostcode.enter_block() is not None)


@pytest.mark.parametrize(
    ("code", "starts", "kind"),
    [
        ("90 c3", [0, 1], Kind(0)),
        ("4889442408 48b88877665544332211 ff2500000000", [0, 5, 15], Kind(0)),
        ("e460 ee f36e", [0, 2, 3], Kind.IO),
        ("9c 58", [0, 1], Kind.PUSHF),
        ("c5f858c1 c4e27918c0 62f17c4858c1", [0, 4, 9], Kind.VEX),
        ("660f3a0fc108 0fbae007 440f22c0", [0, 6, 10], Kind(0)),
    ],
)
def test_instructions_of_a_block(code: str, starts: list[int], kind: Kind) -> None:
    assert instructions(bytes.fromhex(code), 64) == (starts, kind)


def test_a_block_that_breaks_off_cannot_be_decoded() -> None:
    assert instructions(bytes.fromhex("90 4883"), 64) is None


@pytest.mark.parametrize("mode", [16, 32, 64])
def test_lengths_are_those_of_a_disassembler(mode: int) -> None:
    """Where it knows the bytes; 66 before CALL and JMP differs between makers of processors."""
    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, modes[mode])
    generator, known = Random(mode), 0
    for number in range(6_000):
        code = (b"", b"\x0f", b"\x66", b"\x48")[number % 4] + generator.randbytes(15)
        for _, size, name, _ in disassembler.disasm_lite(code[:15], 0, 1):
            if name not in ("ud0", "ud1", "call", "jmp"):
                found = instructions(code[:size], mode)
                assert found is not None and found[0] == [0], (code[:size].hex(), name)
                known += 1
    assert known > 3_000


@pytest.mark.parametrize(
    "code",
    [
        "c5f058c2",  # vaddps xmm0, xmm1, xmm2: the library adds xmm2 to xmm0
        "c5f877",  # vzeroupper
        "65c5f81003",  # vmovups xmm0, gs:[rbx]
        "c4e278f3c8",  # blsr eax, eax
        "62f17c4858c1",  # vaddps zmm0, zmm0, zmm1
        "8fe97812c0",  # XOP
    ],
)
@pytest.mark.parametrize("before", ["", "ffc0", "ffc0 ebfe"])
def test_a_vex_prefix_is_undefined_whatever_the_library_makes_of_it(
    bench: Bench, code: str, before: str
) -> None:
    if hostcode.enter_block() is None:
        pytest.skip("the library counts: it executes some")
    data = bytes.fromhex(before.replace("fe", "00") + code + "ffc0f4")
    for _ in range(2):
        found = bench.run(data, rax=1, rbx=DATA_VA)
        number = len(before.split())
        assert (found.kind.name, found.vector) == ("EXCEPTION", 6)
        assert (found.rip - CODE_VA, found.retired) == (2 * number, number)
        assert bench.registers.rax == 1 + bool(number)


def test_flags_are_whole_at_an_exit_behind_two_additions(library: Native) -> None:
    """The library would compute them from what it has made of them."""
    engine = Engine.on(library, Ram(MEMORY))
    try:
        bench = Bench(engine)
        for code in ("4801d8 4801d8 0fa2", "4801d8 4801d8 498b06", "4801d8 4801d8 e660"):
            bench.run(bytes.fromhex(code), rax=1, rbx=10, r14=0x1000, rflags=2)
            assert bench.registers.rflags == 0x12  # 11 + 10 carries out of bit 3
    finally:
        library.unmap_ram()
