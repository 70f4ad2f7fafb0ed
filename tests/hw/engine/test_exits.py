"""Every kind of exit: exactly at its instruction, nothing executed, operands named."""

import keystone
import pytest

from ntsim.hw.engine import ExitKind
from ntsim.hw.engine.selftest import CODE_PA, CODE_VA, DATA_PA, DATA_VA, Bench

K = ExitKind
_assembler = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)


def asm(text: str) -> bytes:
    code, _ = _assembler.asm(text, CODE_VA)
    return bytes(code)


FORUM_CODE = bytes.fromhex("48 31 c0 0f a2 ba f8 03 00 00 66 b8 41 00 66 ef f4")


def test_the_forum_code_gives_cpuid_then_out_then_hlt(bench: Bench) -> None:
    found = bench.run(FORUM_CODE, rax=0x1234)
    assert (found.kind, found.rip - CODE_VA, bench.registers.rax) == (K.CPUID, 3, 0)
    bench.registers.rip += found.instruction_length
    found = bench.go()
    assert (found.kind, found.rip - CODE_VA) == (K.IO, 14)
    assert (found.port, found.size, found.is_write) == (0x3F8, 2, True)
    assert (bench.registers.rax, bench.registers.rip) == (0x41, CODE_VA + 14)
    bench.registers.rip += found.instruction_length
    found = bench.go()
    assert (found.kind, found.rip - CODE_VA, found.instruction_length) == (K.HLT, 16, 1)
    assert bench.registers.rip == CODE_VA + 16


EXITS = [
    ("hlt", K.HLT, "hlt"),
    ("cpuid", K.CPUID, "cpuid"),
    ("rdmsr", K.RDMSR, "rdmsr"),
    ("wrmsr", K.WRMSR, "wrmsr"),
    ("rdtsc", K.RDTSC, "rdtsc"),
    ("rdtscp", K.RDTSCP, "rdtscp"),
    ("rdpmc", K.RDPMC, "rdpmc"),
    ("pause", K.PAUSE, "pause"),
    ("invd", K.INVD, "invd"),
    ("wbinvd", K.WBINVD, "wbinvd"),
    ("invlpg [rcx]", K.INVLPG, "invlpg"),
    ("rsm", K.RSM, "rsm"),
    ("mov rax, cr0", K.CR_READ, "mov_from_cr"),
    ("mov cr3, rax", K.CR_WRITE, "mov_to_cr"),
    ("mov r11, cr8", K.CR_READ, "mov_from_cr"),
    ("smsw ax", K.CR_READ, "smsw"),
    ("lmsw ax", K.CR_WRITE, "lmsw"),
    ("clts", K.CR_WRITE, "clts"),
    ("mov rax, dr7", K.DR_READ, "mov_from_dr"),
    ("mov dr0, rax", K.DR_WRITE, "mov_to_dr"),
    ("lgdt [rcx]", K.DESCRIPTOR_TABLE, "lgdt"),
    ("sgdt [rcx]", K.DESCRIPTOR_TABLE, "sgdt"),
    ("lidt [rcx]", K.DESCRIPTOR_TABLE, "lidt"),
    ("sidt [rcx]", K.DESCRIPTOR_TABLE, "sidt"),
    ("lldt ax", K.DESCRIPTOR_TABLE, "lldt"),
    ("sldt ax", K.DESCRIPTOR_TABLE, "sldt"),
    ("ltr ax", K.DESCRIPTOR_TABLE, "ltr"),
    ("str ax", K.DESCRIPTOR_TABLE, "str"),
    ("in al, 0x60", K.IO, "in"),
    ("in eax, dx", K.IO, "in"),
    ("out 0x80, al", K.IO, "out"),
    ("out dx, ax", K.IO, "out"),
    ("int3", K.SOFTWARE_INTERRUPT, "int3"),
    ("int 0x2e", K.SOFTWARE_INTERRUPT, "int"),
    ("syscall", K.SYSCALL, "syscall"),
    ("sysret", K.SYSRET, "sysret"),
    ("sysenter", K.SYSENTER, "sysenter"),
    ("monitor", K.MONITOR, "monitor"),
    ("mwait", K.MWAIT, "mwait"),
    ("xgetbv", K.XGETBV, "xgetbv"),
    ("xsetbv", K.XSETBV, "xsetbv"),
    ("rdrand rax", K.RDRAND, "rdrand"),
    ("rdseed eax", K.RDSEED, "rdseed"),
    ("invpcid rax, [rcx]", K.INVPCID, "invpcid"),
    *(
        (text, K.VMX_INSTRUCTION, text.split()[0])
        for text in (
            *("vmcall", "vmlaunch", "vmresume", "vmxoff", "vmfunc"),
            *("vmread rax, rbx", "vmread [rcx], rbx", "vmwrite rax, rbx", "vmwrite rax, [rcx]"),
            *("vmptrld [rcx]", "vmptrst [rcx]", "vmclear [rcx]", "vmxon [rcx]"),
            *("invept rax, [rcx]", "invvpid rax, [rcx]"),
        )
    ),
]


@pytest.mark.parametrize(("text", "kind", "mnemonic"), EXITS, ids=[text for text, *_ in EXITS])
def test_it_stops_before_executing(bench: Bench, text: str, kind: ExitKind, mnemonic: str) -> None:
    code = bytes.fromhex("0f01d4") if text == "vmfunc" else asm(text)
    registers = dict.fromkeys(("rbx", "rsi", "r8", "r11", "r15"), 0x5151_5151_5151_5151)
    registers |= {"rax": 0x1122334455667788, "rcx": DATA_VA, "rdx": 0x3F8, "rflags": 0xC97}
    found = bench.run(b"\x90\x90" + code + b"\xff\xc0\xf4", **registers)
    assert (found.kind, found.rip - CODE_VA, found.retired) == (kind, 2, 2)
    assert (found.mnemonic, found.instruction_length) == (mnemonic, len(code))
    registers |= {"rip": CODE_VA + 2}
    assert {name: getattr(bench.registers, name) for name in registers} == registers
    assert not any(bench.ram.bytes[DATA_PA : DATA_PA + 64])


@pytest.mark.parametrize("number", [0, 2, 3, 4, 8])
@pytest.mark.parametrize("register", ["rax", "rsp", "r9", "r15"])
def test_control_register_moves_name_both_registers(
    bench: Bench, number: int, register: str
) -> None:
    index = {"rax": 0, "rsp": 4, "r9": 9, "r15": 15}[register]
    found = bench.run(asm(f"mov cr{number}, {register}"))
    assert (found.kind, found.number, found.gpr) == (K.CR_WRITE, number, index)
    found = bench.run(asm(f"mov {register}, cr{number}"))
    assert (found.kind, found.number, found.gpr) == (K.CR_READ, number, index)


@pytest.mark.parametrize(
    ("text", "port", "size", "is_write"),
    [
        ("in al, 0x60", 0x60, 1, False),
        ("in ax, 0x61", 0x61, 2, False),
        ("in eax, dx", 0x3F8, 4, False),
        ("out 0x80, al", 0x80, 1, True),
        ("out dx, ax", 0x3F8, 2, True),
        ("out dx, eax", 0x3F8, 4, True),
    ],
)
def test_port_accesses_name_port_size_and_direction(
    bench: Bench, text: str, port: int, size: int, is_write: bool
) -> None:
    found = bench.run(asm(text), rdx=0x3F8)
    assert (found.port, found.size, found.is_write) == (port, size, is_write)
    assert found.io_allowed


def test_string_output_stops_at_every_element_with_its_counters_untouched(bench: Bench) -> None:
    found = bench.run(asm("rep outsb"), rcx=3, rsi=DATA_VA, rdx=0x3F8)
    assert (found.kind, found.rip, found.size, found.mnemonic) == (K.IO, CODE_VA, 1, "outs")
    assert found.instruction is not None and found.instruction.repeated
    assert (bench.registers.rcx, bench.registers.rsi) == (3, DATA_VA)


def test_string_input_leaves_its_counters_untouched(bench: Bench) -> None:
    found = bench.run(asm("rep insd"), rcx=3, rdi=DATA_VA, rdx=0x3F8)
    assert (found.kind, found.rip, found.size, found.mnemonic) == (K.IO, CODE_VA, 4, "ins")
    assert (bench.registers.rcx, bench.registers.rdi) == (3, DATA_VA)


@pytest.mark.parametrize(("code", "vector"), [("cc", 3), ("cd2e", 0x2E), ("f1", 1)])
def test_software_interrupts_name_their_vector(bench: Bench, code: str, vector: int) -> None:
    found = bench.run(bytes.fromhex(code))
    assert (found.kind, found.vector) == (K.SOFTWARE_INTERRUPT, vector)


def test_memory_operands_have_a_linear_address(bench: Bench) -> None:
    bench.world.gs_base = 0x7000
    found = bench.run(asm("vmptrld [rbx + rcx*4 - 8]"), rbx=DATA_VA, rcx=0x10)
    assert found.operand_address() == DATA_VA + 0x38
    found = bench.run(asm("vmread gs:[rax + 0x20], rbx"), rax=0x100)
    assert found.operand_address() == 0x7120
    assert found.instruction is not None and found.instruction.register == 3
    found = bench.run(asm("nop; vmxon [rip + 0x10]"))
    assert found.operand_address() == CODE_VA + 1 + found.instruction_length + 0x10
    assert found.disassemble() == "vmxon qword ptr [rip + 0x10]"


def test_quanta_are_exact(bench: Bench) -> None:
    bench.put(asm("again: inc rax; jmp again"))
    bench.registers.rax = 0
    for steps, rax, offset in ((1, 1, 3), (1, 1, 0), (1000, 501, 0), (1001, 1002, 3)):
        found = bench.go(steps)
        assert (found.kind, found.retired) == (K.QUANTUM_END, steps)
        assert (bench.registers.rax, bench.registers.rip - CODE_VA) == (rax, offset)


def test_hlt_is_told_from_the_end_of_a_quantum(bench: Bench) -> None:
    assert bench.run(asm("nop; hlt"), steps=1).kind is K.QUANTUM_END
    assert bench.run(asm("nop; hlt"), steps=2).kind is K.HLT


def test_retired_counts_up_to_the_exit(bench: Bench) -> None:
    found = bench.run(asm("mov ecx, 100; again: dec ecx; jnz again; out 0x80, al; inc rax; hlt"))
    assert (found.kind, found.retired) == (K.IO, 201)
    bench.registers.rip += found.instruction_length
    found = bench.go()
    assert (found.kind, found.retired) == (K.HLT, 1)


def test_the_same_run_twice_is_the_same() -> None:
    def trace() -> list[object]:
        bench = Bench()
        bench.put(asm("again: imul rax, rax, 13; inc rax; mov [rsp], rax; cpuid; jmp again"))
        seen: list[object] = []
        for steps in range(1, 200):
            found = bench.go(steps % 17 + 1)
            if found.kind is K.CPUID:
                bench.registers.rip += 2
            seen.append((found.kind, found.rip, found.retired, bench.registers.rax))
        bench.engine.close()
        return seen

    assert trace() == trace()


def test_code_written_from_python_is_executed(bench: Bench) -> None:
    assert bench.run(asm("nop; cpuid")).kind is K.CPUID
    bench.engine.write_code(CODE_PA + 1, asm("pause"))
    bench.registers.rip = CODE_VA
    assert bench.go().kind is K.PAUSE
    bench.ram.write(CODE_PA + 1, asm("rdtsc"))
    bench.engine.invalidate_code()
    bench.registers.rip = CODE_VA
    assert bench.go().kind is K.RDTSC


def test_code_that_modifies_itself_is_executed(bench: Bench) -> None:
    found = bench.run(
        bytes.fromhex("66c7030fa2 eb00 f390"), rbx=CODE_VA + 7
    )  # mov word [rbx], cpuid
    assert (found.kind, found.rip - CODE_VA) == (K.CPUID, 7)
