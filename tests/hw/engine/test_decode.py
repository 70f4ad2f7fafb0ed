"""The decoder of system instructions, against encodings made by an assembler."""

import capstone
import keystone
import pytest

from ntsim.hw.engine.decode import MemoryOperand, decode

MODES = {
    16: (keystone.KS_MODE_16, capstone.CS_MODE_16),
    32: (keystone.KS_MODE_32, capstone.CS_MODE_32),
    64: (keystone.KS_MODE_64, capstone.CS_MODE_64),
}


def asm(text: str, mode: int = 64) -> bytes:
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, MODES[mode][0]).asm(text)
    return bytes(code)


ADDRESSES = {
    64: [
        ("[rax]", MemoryOperand("ds", 0, None, 1, 0, False, 8)),
        ("[rsp + 8]", MemoryOperand("ss", 4, None, 1, 8, False, 8)),
        ("[rbp]", MemoryOperand("ss", 5, None, 1, 0, False, 8)),
        ("[r12]", MemoryOperand("ds", 12, None, 1, 0, False, 8)),
        ("[r13 - 0x80]", MemoryOperand("ds", 13, None, 1, -0x80, False, 8)),
        ("[rip + 0x1000]", MemoryOperand("ds", None, None, 1, 0x1000, True, 8)),
        ("[rbx + r12*8 + 0x12345678]", MemoryOperand("ds", 3, 12, 8, 0x12345678, False, 8)),
        ("gs:[rax]", MemoryOperand("gs", 0, None, 1, 0, False, 8)),
        ("[rcx*2 - 1]", MemoryOperand("ds", None, 1, 2, -1, False, 8)),
        ("[eax + ebx*4]", MemoryOperand("ds", 0, 3, 4, 0, False, 4)),
    ],
    32: [
        ("[eax + 4]", MemoryOperand("ds", 0, None, 1, 4, False, 4)),
        ("[ebp + esi*2]", MemoryOperand("ss", 5, 6, 2, 0, False, 4)),
        ("es:[0x1000]", MemoryOperand("es", None, None, 1, 0x1000, False, 4)),
    ],
    16: [
        ("[bx + si]", MemoryOperand("ds", 3, 6, 1, 0, False, 2)),
        ("[bp + di + 0x10]", MemoryOperand("ss", 5, 7, 1, 0x10, False, 2)),
        ("[0x1234]", MemoryOperand("ds", None, None, 1, 0x1234, False, 2)),
        ("[di - 2]", MemoryOperand("ds", 7, None, 1, -2, False, 2)),
        ("[bp]", MemoryOperand("ss", 5, None, 1, 0, False, 2)),
        ("[eax + 4]", MemoryOperand("ds", 0, None, 1, 4, False, 4)),
    ],
}


@pytest.mark.parametrize(
    ("mode", "text", "memory"),
    [(mode, text, memory) for mode, cases in ADDRESSES.items() for text, memory in cases],
)
def test_memory_operands(mode: int, text: str, memory: MemoryOperand) -> None:
    code = asm(f"invlpg {text}", mode)
    found = decode(code + b"\x90" * 4, mode)
    assert found is not None
    assert (found.mnemonic, found.length, found.memory) == ("invlpg", len(code), memory)


def test_an_absolute_address_in_64_bit_code() -> None:
    found = decode(bytes.fromhex("65 0f01 3c25 20000000"), 64)  # invlpg gs:[0x20]
    assert found is not None
    assert (found.length, found.memory) == (9, MemoryOperand("gs", None, None, 1, 0x20, False, 8))


@pytest.mark.parametrize(
    ("text", "register", "rm"),
    [
        ("vmread r9, r10", 10, 9),
        ("vmwrite r9, r10", 9, 10),
        ("mov cr8, r15", 8, 15),
        ("mov rbx, cr4", 4, 3),
        ("mov r8, dr7", 7, 8),
        ("rdrand r11", 6, 11),
        ("lldt cx", 2, 1),
    ],
)
def test_register_operands(text: str, register: int, rm: int) -> None:
    found = decode(asm(text), 64)
    assert found is not None
    assert (found.register, found.rm, found.memory) == (register, rm, None)


@pytest.mark.parametrize(
    ("text", "size"), [("in al, dx", 4), ("in ax, dx", 2), ("insd", 4), ("vmcall", 4)]
)
def test_operand_size_is_what_the_prefixes_say(text: str, size: int) -> None:
    found = decode(asm(text), 64)
    assert found is not None and found.operand_size == size


def test_prefixes_count_into_the_length() -> None:
    found = decode(bytes.fromhex("2e 66 f3 48 0fa2"), 64)
    assert found is not None
    assert (found.mnemonic, found.length, found.repeated) == ("cpuid", 6, True)


@pytest.mark.parametrize(
    "code",
    [
        *("", "0f", "0f01", "0fc7", "66660fc7b3112233", "90", "48 89 03"),
        *("ce", "660f3880c1"),  # INTO in 64-bit code; INVEPT of a register
    ],
)
def test_what_is_not_there_or_not_ours_is_none(code: str) -> None:
    assert decode(bytes.fromhex(code), 64) is None


def test_in_16_and_32_bit_code_vex_needs_a_register_form() -> None:
    assert decode(bytes.fromhex("c50511223344"), 32) is None  # lds eax, [0x44332211]
    found = decode(bytes.fromhex("c5fc58c1"), 32)
    assert found is not None and found.mnemonic == "vex"


INSTRUCTIONS = """
cpuid|hlt|rdmsr|wrmsr|rdtsc|rdtscp|rdpmc|invd|wbinvd|clts|pause|int3|int 0x80|syscall|sysret|rsm
vmcall|vmlaunch|vmresume|vmxoff|vmread [rax], rbx|vmwrite rax, [rbx + 0x100]|vmptrld [rsp]
vmptrst [r12]|vmclear [r13]|vmxon [rip + 1]|invept r9, [r10]|invvpid rax, [rbx]|invpcid rcx, [rdx]
lgdt [rax]|sgdt [rax]|lidt [rax]|sidt [rax]|ltr ax|str eax|lldt ax|sldt ax|lmsw ax|smsw eax
in al, 0x10|in eax, dx|out 0x10, al|out dx, ax|insb|outsd|rep insw|mov cr0, rax|mov rax, dr0
monitor|mwait|xgetbv|xsetbv|rdrand rax|rdseed rbx|rdfsbase rax|wrgsbase rbx|swapgs|invlpg [r15]
xsave [rax]|xrstor [rax]|xsaveopt [rax]|xsavec [rax]|xsaves [rax]|clflushopt [rax]|movbe eax, [rbx]
"""


@pytest.mark.parametrize("text", INSTRUCTIONS.strip().replace("\n", "|").split("|"))
def test_length_and_name_agree_with_a_disassembler(text: str) -> None:
    code = asm(text)
    found = decode(code + bytes(15 - len(code)), 64)
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    (_, length, name, _), *_ = disassembler.disasm_lite(code, 0)
    assert found is not None
    assert found.length == length == len(code)
    name = name.removeprefix("rep ").rstrip("q")
    assert found.mnemonic.startswith(name[:3]), (found.mnemonic, name)
