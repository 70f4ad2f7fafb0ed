"""Exceptions: vector, error code, address, at the instruction, any number in a row."""

import pytest

from ntsim.hw.engine import Engine, ExitKind
from ntsim.hw.engine.selftest import (
    ABSENT_VA,
    CODE_PA,
    CODE_VA,
    DATA_VA,
    READ_ONLY_VA,
    STACK_PA,
    Bench,
)
from ntsim.hw.paging import PTE_PRESENT, PTE_WRITE
from ntsim.hw.ram import Ram

READ, WRITE, JUMP = bytes.fromhex("488b03"), bytes.fromhex("488903"), bytes.fromhex("ffe3")


@pytest.mark.parametrize(
    ("code", "address", "error_code", "retired"),
    [
        (READ, ABSENT_VA + 0x123, 0x0, 1),
        (WRITE, ABSENT_VA + 0xFF8, 0x2, 1),
        (WRITE, READ_ONLY_VA + 8, 0x3, 1),
        (JUMP, ABSENT_VA + 0x10, 0x10, 2),
        (JUMP, DATA_VA, 0x11, 2),
    ],
    ids=["read absent", "write absent", "write read-only", "execute absent", "execute NX"],
)
def test_page_faults_tell_address_and_error_code(
    bench: Bench, code: bytes, address: int, error_code: int, retired: int
) -> None:
    found = bench.run(b"\x90" + code, rbx=address)
    assert (found.kind, found.vector) == (ExitKind.EXCEPTION, 14)
    assert (found.address, found.error_code, found.retired) == (address, error_code, retired)
    assert found.rip == (address if code is JUMP else CODE_VA + 1)
    assert found.rip == bench.registers.rip


@pytest.mark.parametrize(
    ("code", "error_code"),
    [
        ("ff03", 2),  # inc dword ptr [rbx]
        ("f048ff0b", 2),  # lock dec qword ptr [rbx]
        ("0103", 2),  # add [rbx], eax
        ("80630801", 2),  # and byte ptr [rbx + 8], 1
        ("664187470a", 2),  # xchg [r15 + 10], ax
        ("f7d8", 0),  # neg eax, and then a read
        ("f71b", 2),  # neg dword ptr [rbx]
        ("d123", 2),  # shl dword ptr [rbx], 1
        ("f00fb10b", 2),  # lock cmpxchg [rbx], ecx
        ("f00fc10b", 2),  # lock xadd [rbx], ecx
        ("0fab03", 2),  # bts [rbx], eax
        ("0fba2b03", 2),  # bts dword ptr [rbx], 3
        ("480fc70b", 2),  # cmpxchg16b [rbx]
        ("833b00", 0),  # cmp dword ptr [rbx], 0
        ("8503", 0),  # test [rbx], eax
        ("f70301000000", 0),  # test dword ptr [rbx], 1
        ("0fa303", 0),  # bt [rbx], eax
        ("0fba2303", 0),  # bt dword ptr [rbx], 3
        ("0303", 0),  # add eax, [rbx]
        ("ff33", 0),  # push [rbx]
        ("f733", 0),  # div dword ptr [rbx]
    ],
)
def test_what_modifies_memory_asks_for_write_access_from_the_start(
    bench: Bench, code: str, error_code: int
) -> None:
    """SDM 3A, "Page-Fault Exceptions": the page is absent, and the access was a write."""
    found = bench.run(bytes.fromhex(code) + READ, rbx=ABSENT_VA + 0x10, r15=ABSENT_VA)
    assert (found.kind, found.vector, found.error_code) == (ExitKind.EXCEPTION, 14, error_code)


def test_a_hundred_page_faults_in_a_row_and_then_the_access_succeeds(bench: Bench) -> None:
    bench.put(WRITE + b"\xf4")
    bench.registers.rbx = ABSENT_VA
    for i in range(100):
        bench.registers.rax = i
        found = bench.go()
        assert (found.vector, found.address, found.rip) == (14, ABSENT_VA, CODE_VA)
    bench.map(ABSENT_VA, STACK_PA)
    bench.engine.flush_tlb()
    assert bench.go().kind is ExitKind.HLT
    assert bench.ram.u64[STACK_PA >> 3] == 99


def test_a_mapping_taken_away_faults_after_a_flush(bench: Bench) -> None:
    assert bench.run(READ + b"\xf4", rbx=DATA_VA).kind is ExitKind.HLT
    bench.map(DATA_VA, 0, rights=0)
    bench.engine.flush_tlb()
    found = bench.run(READ + b"\xf4", rbx=DATA_VA)
    assert (found.vector, found.error_code) == (14, 0)


@pytest.mark.parametrize(
    ("code", "vector", "error_code"),
    [
        ("48f7f1", 0, None),  # div rcx, by zero
        ("0f0b", 6, None),  # ud2
        ("488b0a", 13, 0),  # mov rcx, [rdx], not canonical
        ("8ed8", 13, 0x1238),  # mov ds, ax beyond the GDT
    ],
)
def test_other_faults_tell_vector_and_error_code(
    bench: Bench, code: str, vector: int, error_code: int | None
) -> None:
    bench.world.set_gdtr(0, 0)
    found = bench.run(bytes.fromhex("90" + code), rcx=0, rdx=1 << 47, rax=0x1238)
    assert (found.kind, found.rip - CODE_VA) == (ExitKind.EXCEPTION, 1)
    assert (found.vector, found.error_code) == (vector, error_code)
    assert found.engine_limit is None


def test_the_trap_flag_stops_after_each_instruction(bench: Bench) -> None:
    bench.put(bytes.fromhex("ffc0 ffc3 f4"))
    bench.registers.rflags = 0x102
    for offset in (2, 4):
        found = bench.go()
        assert (found.kind, found.vector, found.retired) == (ExitKind.EXCEPTION, 1, 1)
        assert found.rip - CODE_VA == offset


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        ("f3480faec0", "RDFSBASE"),
        ("f3480faedb", "WRGSBASE"),
        ("480fc723", "XSAVEC"),
        ("480fae23", "XSAVE"),
        ("480f38f003", "MOVBE"),
        ("c5fc58c1", "VEX-encoded instruction (AVX, BMI)"),
        ("62f17c4858c1", "AVX-512"),
    ],
)
def test_what_the_engine_cannot_execute_is_named(bench: Bench, code: str, limit: str) -> None:
    found = bench.run(bytes.fromhex(code), rbx=DATA_VA)
    assert (found.vector, found.rip, found.engine_limit) == (6, CODE_VA, limit)


def test_a_locked_vmx_instruction_is_just_undefined(bench: Bench) -> None:
    found = bench.run(bytes.fromhex("f00f01c2"))
    assert (found.kind, found.vector, found.engine_limit) == (ExitKind.EXCEPTION, 6, None)


def test_an_instruction_across_a_page_is_read_whole(bench: Bench) -> None:
    bench.map(CODE_VA + 0x1000, STACK_PA)
    bench.put(bytes.fromhex("90 f30f"), offset=0xFFD)
    bench.engine.write_code(STACK_PA, bytes.fromhex("c733"))  # vmxon [rbx]
    found = bench.go()
    assert (found.kind, found.rip) == (ExitKind.VMX_INSTRUCTION, CODE_VA + 0xFFE)
    assert (found.mnemonic, found.instruction_length) == ("vmxon", 4)


def test_a_fetch_fault_in_the_middle_of_an_instruction_leaves_rip_on_it(bench: Bench) -> None:
    """Also when the page is missed early, while a whole block is read ahead."""
    bench.put(bytes.fromhex("ffc0 90 48b8"), offset=0xFFB)  # inc eax; nop; mov rax, imm64
    bench.registers.rax = 0
    found = bench.go()
    assert (found.kind, found.vector, found.error_code) == (ExitKind.EXCEPTION, 14, 0x10)
    assert (found.rip, found.address) == (CODE_VA + 0xFFE, CODE_VA + 0x1000)
    assert (found.retired, bench.registers.rax, bench.registers.rflags & 0x100) == (2, 1, 0)


def test_a_quantum_can_end_on_the_way_to_a_fetch_fault(bench: Bench) -> None:
    bench.put(bytes.fromhex("ffc0 90 48b8"), offset=0xFFB)
    found = bench.go(2)
    assert (found.kind, found.retired, found.rip) == (ExitKind.QUANTUM_END, 2, CODE_VA + 0xFFE)


@pytest.mark.parametrize("pa", [0xFEE0_0000, 1 << 38])
def test_reads_where_there_is_no_ram_give_ones_and_writes_are_lost(bench: Bench, pa: int) -> None:
    """No device answers on the bus: a master abort (PCI 3.0, 3.3.3.1)."""
    bench.map(ABSENT_VA, pa, PTE_PRESENT | PTE_WRITE)
    words = bench.registers
    for _ in range(2):
        words.rax = 0
        found = bench.run(WRITE + READ + b"\xf4", rbx=ABSENT_VA + 0x20)
        assert (found.kind, found.retired, words.rax) == (ExitKind.HLT, 2, (1 << 64) - 1)
    # mov al, [rbx]; the last bytes of one page and the first of the next, which is RAM
    found = bench.run(bytes.fromhex("8a03") + b"\xf4", rbx=ABSENT_VA + 0xFFF, rax=0x1200)
    assert (found.kind, words.rax) == (ExitKind.HLT, 0x12FF)
    bench.map(ABSENT_VA + 0x1000, STACK_PA)
    bench.ram.write(STACK_PA, bytes(8))
    found = bench.run(READ + b"\xf4", rbx=ABSENT_VA + 0xFFC)
    assert (found.kind, words.rax) == (ExitKind.HLT, 0xFFFF_FFFF)


def test_code_where_there_is_no_ram_tells_the_physical_address(bench: Bench) -> None:
    """Before and after something has been read there."""
    bench.map(ABSENT_VA, 0xFEE0_0000, PTE_PRESENT | PTE_WRITE)
    for first in (b"", READ):
        found = bench.run(first + JUMP, rbx=ABSENT_VA + 0x20)
        assert (found.kind, found.address) == (ExitKind.NO_MEMORY, 0xFEE0_0020)
        assert found.rip == ABSENT_VA + 0x20


def test_an_instance_that_has_met_the_bus_serves_a_machine_with_more_ram() -> None:
    for size in (1 << 21, 1 << 23):
        engine = Engine(Ram(size))
        bench = Bench(engine)
        bench.map(ABSENT_VA, 3 << 20, PTE_PRESENT | PTE_WRITE)
        bench.run(WRITE + READ + b"\xf4", rbx=ABSENT_VA, rax=5)
        assert bench.registers.rax == ((1 << 64) - 1 if size == 1 << 21 else 5)
        engine.close()


def test_accessed_and_dirty_bits_are_set(bench: Bench) -> None:
    assert not bench.tables.read(bench.root, DATA_VA) & 0x60
    bench.run(READ + b"\xf4", rbx=DATA_VA)
    assert bench.tables.read(bench.root, DATA_VA) & 0x60 == 0x20
    bench.run(WRITE + b"\xf4", rbx=DATA_VA)
    assert bench.tables.read(bench.root, DATA_VA) & 0x60 == 0x60


def test_faults_do_not_touch_ram(bench: Bench) -> None:
    bench.put(WRITE)
    bench.registers.rbx = ABSENT_VA
    bench.go()
    before = bytes(bench.ram.bytes)
    bench.go()
    assert bytes(bench.ram.bytes) == before
    assert bench.ram.read(CODE_PA, 3) == WRITE
