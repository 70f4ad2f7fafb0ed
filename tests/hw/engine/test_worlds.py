"""Worlds: several on one engine, any mode, state in and out, nested paging, engines reused."""

import gc

import keystone
import pytest

from ntsim.hw.cpu import DescriptorTable, Segment
from ntsim.hw.engine import Engine, EngineError, ExitKind, Intercept, RegisterFile, WorldState
from ntsim.hw.engine import native as native_module
from ntsim.hw.engine.selftest import (
    ABSENT_VA,
    CODE_PA,
    CODE_VA,
    DATA_PA,
    DATA_VA,
    STACK_PA,
    STACK_VA,
    Bench,
)
from ntsim.hw.paging import PTE_PRESENT, PTE_USER, PTE_WRITE
from ntsim.hw.ram import PAGE_SIZE, Ram

K = ExitKind
ALL = PTE_PRESENT | PTE_WRITE | PTE_USER
_GUEST_CODE = 0x4000


def asm(text: str, mode: int = keystone.KS_MODE_64) -> bytes:
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, mode).asm(text)
    return bytes(code)


def test_two_worlds_alternate_at_one_address(bench: Bench) -> None:
    """Other page tables, other code at the same address, registers per thread."""
    root = bench.frames.take()
    bench.tables.write(root, CODE_VA, STACK_PA | PTE_PRESENT | PTE_WRITE)
    other = bench.engine.world(WorldState(cr3=root))
    bench.engine.write_code(CODE_PA, asm("again: inc r15; pause; jmp again"))
    bench.engine.write_code(STACK_PA, asm("again: inc r14; cpuid; jmp again"))
    first, second = RegisterFile(), RegisterFile()
    first.rip = second.rip = CODE_VA
    for _ in range(100):
        assert bench.engine.run(bench.world, first, 10).kind is K.PAUSE
        assert bench.engine.run(other, second, 10).kind is K.CPUID
        first.rip += 2
        second.rip += 2
    assert (first.r15, first.r14, second.r15, second.r14) == (100, 0, 0, 100)


def test_an_exit_stays_valid_while_another_thread_runs(bench: Bench) -> None:
    bench.engine.write_code(CODE_PA, asm("vmclear [rcx]; rdmsr"))
    first, second = RegisterFile(), RegisterFile()
    first.rip, second.rip = CODE_VA, CODE_VA + 4
    mine = bench.engine.run(bench.world, first, 10)
    bench.engine.run(bench.engine.world(WorldState(cr3=bench.root)), second, 10)
    assert (mine.kind, mine.mnemonic, mine.rip) == (K.VMX_INSTRUCTION, "vmclear", CODE_VA)


def test_vector_registers_belong_to_the_thread(bench: Bench) -> None:
    bench.engine.write_code(CODE_PA, asm("paddq xmm3, xmm3; hlt"))
    files = [RegisterFile() for _ in range(3)]
    for number, file in enumerate(files):
        file.set_xmm(3, (number + 1) << 64 | number)
    for _ in range(2):
        for file in files:
            file.rip = CODE_VA
            assert bench.engine.run(bench.world, file, 10).kind is K.HLT
    assert [file.xmm(3) for file in files] == [(n + 1) * 4 << 64 | n * 4 for n in range(3)]


def test_a_new_cr3_takes_effect_at_once(bench: Bench) -> None:
    root = bench.frames.take()
    bench.tables.write(root, CODE_VA, STACK_PA | PTE_PRESENT)
    bench.engine.write_code(STACK_PA, asm("pause"))
    assert bench.run(asm("cpuid")).kind is K.CPUID
    bench.world.cr3 = root
    assert bench.world.cr3 == bench.world.state().cr3 == root
    assert bench.go().kind is K.PAUSE
    assert bench.registers.exit.instruction_length == 2
    bench.world.cr3 = bench.root
    assert bench.go().kind is K.CPUID


def test_a_page_table_root_above_four_gigabytes() -> None:
    ram = Ram(0x1_0010_0000)
    root, frame = 0x1_0000_0000, 0x1_0008_0000
    for i, entry in ((0, frame), (1, frame + 0x1000), (2, frame + 0x2000), (3, 0x1000)):
        table = root if i == 0 else frame + (i - 1) * 0x1000
        ram.u64[table >> 3] = entry | 3
    engine = Engine(ram)
    world, registers = engine.world(WorldState()), RegisterFile()
    world.cr3 = root
    engine.write_code(0x1000, asm("cpuid"))
    assert engine.run(world, registers, 5).kind is K.CPUID
    engine.close()


def test_state_comes_back_as_it_went_in(bench: Bench) -> None:
    state = WorldState(
        cr3=bench.root,
        fs=Segment(0x53, 0x7000, 0xFFFF, 0xC0F3),
        gs=Segment(0x2B, 0xFFFF_F800_1234_5000, 0xFFFF_FFFF, 0xC0F3),
        tr=Segment(0x40, 0xFFFF_F800_0001_0000, 0x67, 0x8B),
        ldtr=Segment(0x48, 0x9000, 0x7F, 0x82),
        gdtr=DescriptorTable(0xFFFF_F800_0002_0000, 0x57),
        idtr=DescriptorTable(0xFFFF_F800_0003_0000, 0xFFF),
        kernel_gs_base=0x1_2345_6000,
    )
    got = bench.engine.world(state).state()

    def plain(state: WorldState) -> list[object]:
        segments = [getattr(state, name) for name in ("es", "cs", "ss", "ds", "fs", "gs")]
        segments += [state.ldtr, state.tr]
        return [
            *((s.selector, s.base, s.limit, s.access_rights) for s in segments),
            (state.gdtr.base, state.gdtr.limit, state.idtr.base, state.idtr.limit),
            (state.cr0, state.cr3, state.cr4, state.efer, state.kernel_gs_base),
        ]

    assert plain(got) == plain(state)


def test_a_processor_is_a_state_and_back(bench: Bench) -> None:
    from ntsim.hw.clock import Clock
    from ntsim.hw.cpu import IA32_KERNEL_GS_BASE, Processor
    from ntsim.hw.cpu_model import DEFAULT
    from ntsim.hw.ports import PortBus

    def processor() -> Processor:
        return Processor(0, 1, DEFAULT, bench.ram, Clock(), PortBus())

    first, second = processor(), processor()
    first.cr3 = bench.root
    first.cs.set(0x10, 0, 0xFFFF_FFFF, 0xA09B)
    first.ss.set(0x18, 0, 0xFFFF_FFFF, 0xC093)
    first.gs.set(0x2B, DATA_VA, 0xFFFF_FFFF, 0xC0F3)
    first.gdtr.base, first.msrs[IA32_KERNEL_GS_BASE] = 0x1234_5000, 0x7777
    world = bench.engine.world(WorldState.of(first))
    bench.put(asm("mov rax, gs:[rcx]; swapgs; cpuid"))
    bench.registers.rcx = 0
    assert bench.engine.run(world, bench.registers, 10).kind is K.CPUID
    world.state().into(second)
    assert (second.cr3, second.cs.access_rights, second.cpl) == (bench.root, 0xA09B, 0)
    assert (second.gdtr.base, second.gs.base) == (0x1234_5000, 0x7777)
    assert second.msrs[IA32_KERNEL_GS_BASE] == DATA_VA
    assert second.cr4 == first.cr4


def test_segment_bases_can_be_read_and_written(bench: Bench) -> None:
    bench.ram.u64[DATA_PA + 0x18 >> 3], bench.ram.u64[DATA_PA + 0x118 >> 3] = 0x11, 0x22
    bench.world.gs_base = DATA_VA
    bench.world.kernel_gs_base = DATA_VA + 0x100
    code = asm("mov rax, gs:[rcx]; swapgs; mov rbx, gs:[rcx]; hlt")
    found = bench.run(code, rcx=0x18)
    assert found.kind is K.HLT
    assert (bench.registers.rax, bench.registers.rbx) == (0x11, 0x22)
    assert (bench.world.gs_base, bench.world.kernel_gs_base) == (DATA_VA + 0x100, DATA_VA)


def test_a_passed_msr_does_not_stop(bench: Bench) -> None:
    code = asm("mov ecx, 0xc0000102; rdmsr; hlt")
    assert bench.run(code).kind is K.RDMSR
    bench.world.kernel_gs_base = 0x1_2345_6789
    bench.world.pass_msr(0xC000_0102, write=False)
    assert bench.run(code).kind is K.HLT
    assert (bench.registers.rdx, bench.registers.rax) == (1, 0x2345_6789)
    assert bench.run(asm("mov ecx, 0xc0000102; wrmsr")).kind is K.WRMSR


def test_optional_intercepts(bench: Bench) -> None:
    code = asm("pause; pushfq; pop rax; hlt")
    quiet = bench.engine.world(
        WorldState(cr3=bench.root), intercepts=Intercept.DEFAULT & ~Intercept.PAUSE
    )
    loud = bench.engine.world(
        WorldState(cr3=bench.root), intercepts=Intercept.DEFAULT | Intercept.PUSHF
    )
    bench.put(code)
    assert bench.engine.run(quiet, bench.registers, 10).kind is K.HLT
    bench.put(code)
    assert bench.engine.run(loud, bench.registers, 10).kind is K.PAUSE
    bench.registers.rip += 2
    assert bench.engine.run(loud, bench.registers, 10).kind is K.PUSHF


def test_sti_holds_interrupts_off_for_one_instruction(bench: Bench) -> None:
    bench.run(asm("sti; nop; cpuid"), steps=1)
    assert bench.world.interrupt_shadow
    assert bench.registers.rflags & 0x200
    bench.go(1)
    assert not bench.world.interrupt_shadow


def _descriptor(rights: int) -> int:
    """A flat segment; rights in VMX format."""
    return 0xF_0000_0000_FFFF << 0 | (rights & 0xFF) << 40 | (rights >> 12) << 52


def test_user_mode_code_runs_at_its_privilege_level(bench: Bench) -> None:
    """IRETQ to ring 3 loads segments by itself; privileged instructions fault there."""
    bench.map(0x10000, STACK_PA, ALL)
    for level in (4, 3, 2):
        at = bench.tables.entry_address(bench.root, 0x10000, level)
        assert at is not None
        bench.ram.u64[at >> 3] |= PTE_USER
    bench.ram.u64[DATA_PA + 0x28 >> 3] = _descriptor(0xC0F3)
    bench.ram.u64[DATA_PA + 0x30 >> 3] = _descriptor(0xA0FB)
    bench.world.set_gdtr(DATA_VA, 0x3F)
    bench.engine.write_code(STACK_PA, asm("cpuid; out 0x80, al; hlt"))
    code = asm("push 0x2b; push 0x10f00; push 0x202; push 0x33; push 0x10000; iretq")
    found = bench.run(code)
    assert (found.kind, found.rip, found.cpl) == (K.CPUID, 0x10000, 3)
    assert (bench.registers.cs, bench.registers.ss) == (0x33, 0x2B)
    assert bench.world.state().cs.access_rights == 0xA0FB
    bench.registers.rip += 2
    found = bench.go()
    assert (found.kind, found.io_allowed) == (K.IO, False)
    bench.registers.rip += 2
    found = bench.go()
    assert (found.kind, found.vector, found.error_code) == (K.EXCEPTION, 13, 0)
    bench.world.load(bench.world.state())
    bench.registers.rip = 0x10000
    assert bench.go().cpl == 3


REAL_DATA = Segment(0x1000, CODE_PA, 0xFFFF, 0x93)


def _real_mode_state() -> WorldState:
    code = Segment(0x1000, CODE_PA, 0xFFFF, 0x9B)
    return WorldState(cr0=0x30, cr4=0, efer=0, cs=code, ss=REAL_DATA, ds=REAL_DATA, es=REAL_DATA)


def test_real_mode(bench: Bench) -> None:
    world = bench.engine.world(_real_mode_state())
    text = "mov ax, 0x1234; mov [0x100], ax; out 0x80, ax; cpuid; vmclear [bx+si+0x10]"
    bench.engine.write_code(CODE_PA, bytes.fromhex("b83412 a30001 e780 0fa2 660fc77010"))
    bench.registers.rip, bench.registers.rbx, bench.registers.rsi = 0, 0x200, 0x30
    found = bench.engine.run(world, bench.registers, 10)
    assert (found.kind, found.rip, found.size, found.instruction_length) == (K.IO, 6, 2, 2), text
    assert (found.cpl, found.io_allowed) == (0, True)
    assert bench.ram.u32[CODE_PA + 0x100 >> 2] == 0x1234
    bench.registers.rip += 2
    found = bench.engine.run(world, bench.registers, 10)
    assert (found.kind, found.rip, found.instruction_length) == (K.CPUID, 8, 2)
    bench.registers.rip += 2
    found = bench.engine.run(world, bench.registers, 10)
    assert (found.mnemonic, found.instruction_length) == ("vmclear", 5)
    assert found.operand_address() == CODE_PA + 0x240


def test_from_real_mode_to_protected_mode(bench: Bench) -> None:
    """MOV to CR0 stops; the caller sets it; the far jump loads CS from the GDT by itself."""
    world = bench.engine.world(_real_mode_state())
    bench.ram.u64[DATA_PA + 8 >> 3] = 0x00CF_9B00_0000_FFFF
    world.set_gdtr(DATA_PA, 0xF)
    code = bytes.fromhex("0f22c0 66ea") + (CODE_PA + 0x100).to_bytes(4, "little") + b"\x08\x00"
    bench.engine.write_code(CODE_PA, code)
    bench.engine.write_code(CODE_PA + 0x100, asm("mov eax, 0x12345678; cpuid", keystone.KS_MODE_32))
    bench.registers.rip, bench.registers.rax = 0, 0x31
    found = bench.engine.run(world, bench.registers, 10)
    assert (found.kind, found.number, found.gpr, found.instruction_length) == (K.CR_WRITE, 0, 0, 3)
    world.set_control(cr0=0x31)
    bench.registers.rip += 3
    found = bench.engine.run(world, bench.registers, 10)
    assert (found.kind, found.rip) == (K.CPUID, CODE_PA + 0x105)
    assert (bench.registers.rax, bench.registers.cs) == (0x1234_5678, 8)
    assert found.instruction_length == 2


def _paged_32_bit_state(root: int, cr4: int) -> WorldState:
    code, data = Segment(8, 0, 0xFFFF_FFFF, 0xC09B), Segment(16, 0, 0xFFFF_FFFF, 0xC093)
    return WorldState(
        cr0=0x8000_0031, cr3=root, cr4=cr4, efer=0, cs=code, ss=data, ds=data, es=data
    )


@pytest.mark.parametrize("kind", ["two-level", "large pages", "PAE"])
def test_32_bit_paging(bench: Bench, kind: str) -> None:
    root, table, last = (bench.frames.take() for _ in range(3))
    linear = 0x8040_0000 + (CODE_PA if kind == "large pages" else 0)
    if kind == "PAE":
        bench.ram.u64[root + (linear >> 30) * 8 >> 3] = table | 1
        bench.ram.u64[table + (linear >> 21 & 0x1FF) * 8 >> 3] = last | 3
        bench.ram.u64[last + (linear >> 12 & 0x1FF) * 8 >> 3] = CODE_PA | 3
    elif kind == "two-level":
        bench.ram.u32[root + (linear >> 22) * 4 >> 2] = table | 3
        bench.ram.u32[table + (linear >> 12 & 0x3FF) * 4 >> 2] = CODE_PA | 3
    else:
        bench.ram.u32[root + (linear >> 22) * 4 >> 2] = 0x83
    cr4 = {"PAE": 0x20, "large pages": 0x10, "two-level": 0}[kind]
    world = bench.engine.world(_paged_32_bit_state(root, cr4))
    bench.engine.write_code(CODE_PA, asm("inc eax; cpuid", keystone.KS_MODE_32))
    bench.registers.rip, bench.registers.rax = linear, 1
    found = bench.engine.run(world, bench.registers, 10)
    assert (found.kind, found.rip, bench.registers.rax) == (K.CPUID, linear + 1, 2)
    assert found.instruction_length == 2
    bench.registers.rip = 0x1000
    found = bench.engine.run(world, bench.registers, 10)
    assert (found.vector, found.address, found.error_code) == (14, 0x1000, 0)


def _guest(bench: Bench) -> tuple[int, dict[int, int]]:
    """A guest's own page tables in its first frames, its code in the fifth.

    Returns where guest-physical 0 lies in the machine, and the frames to map.
    """
    base = 0x6_0000
    for i in range(3):
        bench.ram.u64[base + i * PAGE_SIZE >> 3] = (i + 1) * PAGE_SIZE | 3
    bench.ram.u64[base + 3 * PAGE_SIZE + 4 * 8 >> 3] = _GUEST_CODE | 3
    bench.ram.u64[base + 3 * PAGE_SIZE + 5 * 8 >> 3] = 0x7000 | 3
    return base, {i * PAGE_SIZE: base + i * PAGE_SIZE for i in range(5)}


def test_a_guest_with_its_own_tables_under_nested_paging(bench: Bench) -> None:
    base, frames = _guest(bench)
    nested = bench.nested(frames)
    guest = bench.engine.world(WorldState(cr3=0), nested_root=nested)
    bench.engine.write_code(base + _GUEST_CODE, asm("mov rax, [rbx]; cpuid; vmcall"))
    bench.registers.rip, bench.registers.rbx = _GUEST_CODE, 0x5010
    found = bench.engine.run(guest, bench.registers, 10)
    assert (found.kind, found.address, found.error_code) == (K.NESTED_FAULT, 0x7010, 4)
    assert (found.rip, found.retired) == (_GUEST_CODE, 0)
    bench.tables.write(nested, 0x7000, DATA_PA | ALL)
    bench.engine.flush_tlb()
    bench.ram.u64[DATA_PA + 0x10 >> 3] = 0x4242
    found = bench.engine.run(guest, bench.registers, 10)
    assert (found.kind, bench.registers.rax, found.instruction_length) == (K.CPUID, 0x4242, 2)
    assert guest.view.physical(0x5010) == DATA_PA + 0x10


@pytest.mark.parametrize(
    ("code", "rights", "error_code"),
    [
        ("488903", PTE_PRESENT | PTE_USER, 7),
        ("488903", 0, 6),
        ("488b03", 0, 4),
        ("ffe3", 0, 0x14),
        ("ffe3", ALL | 1 << 63, 0x15),
    ],
    ids=["write read-only", "write absent", "read absent", "execute absent", "execute NX"],
)
def test_nested_faults_tell_the_access(
    bench: Bench, code: str, rights: int, error_code: int
) -> None:
    base, frames = _guest(bench)
    nested = bench.nested(frames)
    bench.tables.write(nested, 0x7000, DATA_PA | rights if rights else 0)
    guest = bench.engine.world(WorldState(cr3=0), nested_root=nested)
    bench.engine.write_code(base + _GUEST_CODE, bytes.fromhex(code))
    bench.registers.rip, bench.registers.rbx = _GUEST_CODE, 0x5018
    for _ in range(3):
        found = bench.engine.run(guest, bench.registers, 10)
        bench.registers.rip = _GUEST_CODE
        assert (found.kind, found.address) == (K.NESTED_FAULT, 0x7018)
        assert found.error_code == error_code
        assert found.retired == (1 if code == "ffe3" else 0)


def test_a_driver_world_and_a_guest_world_take_turns(bench: Bench) -> None:
    base, frames = _guest(bench)
    guest = bench.engine.world(WorldState(cr3=0), nested_root=bench.nested(frames))
    bench.engine.write_code(base + _GUEST_CODE, asm("again: inc rax; vmcall; jmp again"))
    bench.put(asm("again: inc rax; hlt; jmp again"))
    inside = RegisterFile()
    inside.rip = _GUEST_CODE
    for _ in range(50):
        assert bench.engine.run(guest, inside, 10).kind is K.VMX_INSTRUCTION
        inside.rip += inside.exit.instruction_length
        assert bench.go().kind is K.HLT
        bench.registers.rip += 1
    assert (inside.rax, bench.registers.rax) == (50, 50)


def test_a_store_by_one_world_reaches_code_that_another_has_run(bench: Bench) -> None:
    bench.map(DATA_VA, CODE_PA)
    root = bench.frames.take()
    for va, pa in ((CODE_VA, STACK_PA), (STACK_VA, CODE_PA)):
        bench.tables.write(root, va, pa | PTE_PRESENT | PTE_WRITE)
    writer = bench.engine.world(WorldState(cr3=root))
    bench.engine.write_code(STACK_PA, asm("mov word ptr [rbx], 0x90f3; hlt"))
    assert bench.run(asm("nop; cpuid")).kind is K.CPUID
    bench.registers.rip, bench.registers.rbx = CODE_VA, STACK_VA + 1
    assert bench.engine.run(writer, bench.registers, 10).kind is K.HLT
    bench.registers.rip = CODE_VA
    assert bench.go().kind is K.PAUSE


def test_an_engine_without_worlds_loads_nothing() -> None:
    engine = Engine(Ram(PAGE_SIZE))
    engine.flush_tlb()
    engine.write_code(0, b"\x90")
    assert not engine.started
    engine.close()


def test_instances_are_reused_and_nothing_of_the_last_machine_shows() -> None:
    for code, kind in ((asm("cpuid"), K.CPUID), (asm("pause"), K.PAUSE)) * 5:
        bench = Bench()
        instance = bench.engine.start()
        assert bench.run(code).kind is kind
        assert bench.registers.mxcsr == 0x1F80
        bench.engine.close()
        assert native_module._idle[instance.by_block][-1] is instance


def test_a_forgotten_engine_returns_its_instance() -> None:
    gc.collect()
    bench = Bench()
    bench.run(asm("cpuid"))
    instance = bench.engine.start()
    assert instance not in native_module._idle[instance.by_block]
    del bench
    gc.collect()
    assert instance in native_module._idle[instance.by_block]


def test_two_machines_run_side_by_side() -> None:
    first, second = Bench(), Bench()
    first.put(asm("again: inc rax; jmp again"))
    second.put(asm("again: dec rax; jmp again"))
    for _ in range(10):
        first.go(100)
        second.go(100)
    assert (first.registers.rax, second.registers.rax) == (500, 2**64 - 500)
    with pytest.raises(AssertionError, match="another machine"):
        first.engine.run(second.world, first.registers, 1)
    first.engine.close()
    second.engine.close()


def test_worlds_give_their_place_back(bench: Bench) -> None:
    for _ in range(native_module.MAX_WORLDS + 10):
        bench.engine.world(WorldState(cr3=bench.root))
    kept = [bench.engine.world(WorldState()) for _ in range(native_module.MAX_WORLDS - 1)]
    with pytest.raises(EngineError, match="worlds exist"):
        bench.engine.world(WorldState())
    assert len(kept) == native_module.MAX_WORLDS - 1
    assert bench.run(asm("cpuid")).kind is K.CPUID


def test_absent_code_is_not_read(bench: Bench) -> None:
    assert bench.world.view.read(ABSENT_VA, 8) == b""
    assert bench.world.view.read(CODE_VA + PAGE_SIZE - 4, 8) == bytes(4)
    assert bench.world.view.physical(1 << 47) is None
