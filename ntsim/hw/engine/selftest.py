"""The behaviour of the C library that ntsim relies on, tried on a machine of one megabyte.

Much of it is an accident: that an intercept of AMD's SVM reaches the interrupt hook with
nothing executed is nowhere promised. So every start tries what a wrong run could not survive, and
`ntsim doctor` all of it. Sources of what is expected: the SDM's instruction pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ntsim.hw.cpu import Segment
from ntsim.hw.engine import unicorn_c as c
from ntsim.hw.engine.core import Check, Engine
from ntsim.hw.engine.exits import Exit, ExitKind
from ntsim.hw.engine.native import Native
from ntsim.hw.engine.registers import RegisterFile
from ntsim.hw.engine.state import WorldState
from ntsim.hw.engine.world import World
from ntsim.hw.paging import PTE_NX, PTE_PRESENT, PTE_USER, PTE_WRITE, PageTables
from ntsim.hw.ram import PAGE_SIZE, Ram

CODE_VA, DATA_VA, STACK_VA = 0xFFFF_F800_0000_0000, 0xFFFF_F800_0010_0000, 0xFFFF_F800_0020_0000
ABSENT_VA, READ_ONLY_VA = 0xFFFF_F800_0040_0000, 0xFFFF_F800_0050_0000
CODE_PA, DATA_PA, STACK_PA = 0x1_0000, 0x2_0000, 0x3_0000
_TABLES_PA, _RAM_SIZE = 0x8_0000, 0x10_0000
_K = ExitKind


class Frames:
    """Zeroed page frames from `first` on."""

    def __init__(self, first: int) -> None:
        self.next = first

    def take(self) -> int:
        self.next += PAGE_SIZE
        assert self.next <= _RAM_SIZE
        return self.next - PAGE_SIZE


class Bench:
    """A machine with a page of code, of data and of stack, and a world that sees them."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or Engine(Ram(_RAM_SIZE))
        self.ram = self.engine.ram
        self.frames = Frames(_TABLES_PA)
        self.tables = PageTables(self.ram, self.frames.take)
        self.root = self.frames.take()
        self.map(CODE_VA, CODE_PA)
        self.map(DATA_VA, DATA_PA, PTE_PRESENT | PTE_WRITE | PTE_NX)
        self.map(STACK_VA, STACK_PA)
        self.map(READ_ONLY_VA, DATA_PA, PTE_PRESENT)
        self.registers = RegisterFile()
        self.world: World = self.engine.world(WorldState(cr3=self.root))

    def map(self, va: int, pa: int, rights: int = PTE_PRESENT | PTE_WRITE) -> None:
        self.tables.write(self.root, va, pa | rights)

    def nested(self, frames: dict[int, int]) -> int:
        """Root of a nested table that maps guest frames to the machine's."""
        root = self.frames.take()
        for guest, frame in frames.items():
            rights = PTE_PRESENT | PTE_WRITE | PTE_USER
            self.tables.write(root, guest, frame | rights)
        for level in (4, 3, 2):
            for guest in frames:
                at = self.tables.entry_address(root, guest, level)
                assert at is not None
                self.ram.u64[at >> 3] |= PTE_USER
        return root

    def put(self, code: bytes, offset: int = 0) -> None:
        """Place `code` in the code page and RIP on it."""
        self.engine.write_code(CODE_PA + offset, code)
        self.registers.rip = CODE_VA + offset
        self.registers.rsp = STACK_VA + PAGE_SIZE - 0x100

    def run(self, code: bytes, steps: int = 1000, **registers: int) -> Exit:
        """Execute `code` from its beginning."""
        self.put(code)
        for name, value in registers.items():
            setattr(self.registers, name, value)
        return self.go(steps)

    def go(self, steps: int = 1000) -> Exit:
        return self.engine.run(self.world, self.registers, steps)


_Try = Callable[[Bench], tuple[object, object]]
"""Does something and returns what it saw and what it should have seen."""


def _version(bench: Bench) -> tuple[object, object]:
    return c.version(), c.SUPPORTED_VERSION


def _stops_at(code: str, kind: ExitKind) -> _Try:
    """After two NOPs; RAX would show an execution of what follows."""

    def attempt(bench: Bench) -> tuple[object, object]:
        found = bench.run(bytes.fromhex("9090" + code + "ffc0f4"), rax=7, rcx=0x277, rdx=0x80)
        seen = found.kind.name, found.rip - CODE_VA, found.retired, bench.registers.rax
        return seen, (kind.name, 2, 2, 7)

    return attempt


def _counts(bench: Bench) -> tuple[object, object]:
    found = bench.run(bytes.fromhex("ffc0 ebfc"), steps=1001, rax=0)  # inc eax; jmp -4
    seen = found.kind.name, bench.registers.rax, found.rip - CODE_VA, found.retired
    return seen, ("QUANTUM_END", 501, 2, 1001)


def _halts(bench: Bench) -> tuple[object, object]:
    found = bench.run(bytes.fromhex("90 f4"), steps=2)
    return (found.kind.name, found.rip - CODE_VA, found.retired), ("HLT", 1, 1)


def _in_leaves_rax(bench: Bench) -> tuple[object, object]:
    found = bench.run(bytes.fromhex("ec ffc0 f4"), rax=0x1122_3344_5566_7788, rdx=0x3F8)
    seen = found.kind.name, found.port, found.size, found.is_write, bench.registers.rax
    return seen, ("IO", 0x3F8, 1, False, 0x1122_3344_5566_7788)


def _page_faults(bench: Bench) -> tuple[object, object]:
    seen = []
    for code, address in (
        ("488b03", ABSENT_VA),  # mov rax, [rbx]
        ("488903", ABSENT_VA + 8),  # mov [rbx], rax
        ("488903", READ_ONLY_VA),
        ("ffe3", ABSENT_VA + 16),  # jmp rbx
        ("ffe3", DATA_VA),
    ):
        for _ in range(4):
            found = bench.run(bytes.fromhex(code), rbx=address)
        seen.append((found.kind.name, found.vector, found.error_code, found.address == address))
    codes = 0, 2, 3, 0x10, 0x11
    return seen, [("EXCEPTION", 14, code, True) for code in codes]


def _protection_error_code(bench: Bench) -> tuple[object, object]:
    bench.world.set_gdtr(0, 0)
    found = bench.run(bytes.fromhex("8ed8"), rax=0x1238)  # mov ds, ax
    return (found.kind.name, found.vector, found.error_code), ("EXCEPTION", 13, 0x1238)


def _single_steps(bench: Bench) -> tuple[object, object]:
    found = bench.run(bytes.fromhex("ffc0 ffc0 f4"), rflags=0x102)
    bench.registers.rflags = 2
    return (found.kind.name, found.vector, found.rip - CODE_VA), ("EXCEPTION", 1, 2)


def _names_undefined(bench: Bench) -> tuple[object, object]:
    seen = {}
    for code, name in _UNDEFINED.items():
        found = bench.run(bytes.fromhex(code), rbx=DATA_VA)
        seen[name] = found.engine_limit or found.kind.name if found.rip == CODE_VA else "executed"
    return seen, {name: name for name in _UNDEFINED.values()}


_UNDEFINED = {
    "f3480faec0": "RDFSBASE",
    "660f388203": "INVPCID",
    "480fc723": "XSAVEC",
    "c5fc58c1": "VEX-encoded instruction (AVX, BMI)",
    "480fc7f0": "RDRAND",
    "480fc7f8": "RDSEED",
    "0f01d0": "XGETBV",
    "480f07": "SYSRET",
}


def _vector_registers(bench: Bench) -> tuple[object, object]:
    value = 0x1122334455667788_99AABBCCDDEEFF00
    bench.registers.set_xmm(7, value)
    bench.run(bytes.fromhex("440f28ff f4"))  # movaps xmm15, xmm7
    return bench.registers.xmm(15), value


def _nested_fault(bench: Bench) -> tuple[object, object]:
    used = [CODE_PA, STACK_PA, *range(_TABLES_PA, bench.frames.next, PAGE_SIZE)]
    root = bench.nested({frame: frame for frame in used})
    guest = bench.engine.world(WorldState(cr3=bench.root), nested_root=root)
    bench.put(bytes.fromhex("488903 f4"))  # mov [rbx], rax
    bench.registers.rbx = DATA_VA + 8
    bench.registers.rax = 0x1234
    found = bench.engine.run(guest, bench.registers, 10)
    seen = [(found.kind.name, found.address, found.error_code, found.rip - CODE_VA)]
    bench.tables.write(root, DATA_PA, DATA_PA | PTE_PRESENT | PTE_WRITE | PTE_USER)
    bench.engine.flush_tlb()
    found = bench.engine.run(guest, bench.registers, 10)
    seen.append((found.kind.name, bench.ram.u64[DATA_PA + 8 >> 3], 0, found.rip - CODE_VA))
    return seen, [("NESTED_FAULT", DATA_PA + 8, 6, 0), ("HLT", 0x1234, 0, 3)]


def _worlds_alternate(bench: Bench) -> tuple[object, object]:
    """The same address holds other code in the other address space."""
    root = bench.frames.take()
    bench.tables.write(root, CODE_VA, STACK_PA | PTE_PRESENT | PTE_WRITE)
    other = bench.engine.world(WorldState(cr3=root))
    bench.engine.write_code(CODE_PA, bytes.fromhex("ffc0 0fa2"))  # inc eax; cpuid
    bench.engine.write_code(STACK_PA, bytes.fromhex("ffc3 f390"))  # inc ebx; pause
    seen = []
    for _ in range(3):
        for world in (bench.world, other):
            bench.registers.rip = CODE_VA
            seen.append(bench.engine.run(world, bench.registers, 10).kind.name)
    return seen, ["CPUID", "PAUSE"] * 3


def _code_changes(bench: Bench) -> tuple[object, object]:
    first = bench.run(bytes.fromhex("90 0fa2")).kind.name
    second = bench.run(bytes.fromhex("90 f390")).kind.name
    stores = bench.run(bytes.fromhex("c60301 90 eb00 f4"), rbx=CODE_VA + 5)  # mov byte [rbx], 1
    return (first, second, stores.rip - CODE_VA), ("CPUID", "PAUSE", 7)


def _real_mode(bench: Bench) -> tuple[object, object]:
    data, code = (Segment(0x1000, CODE_PA, 0xFFFF, rights) for rights in (0x93, 0x9B))
    state = WorldState(cr0=0x30, cr4=0, efer=0, cs=code, ss=data, ds=data, es=data)
    world = bench.engine.world(state)
    bench.engine.write_code(CODE_PA, bytes.fromhex("b83412 a30001 0fa2"))  # mov ax; mov [100h], ax
    bench.registers.rip = 0
    found = bench.engine.run(world, bench.registers, 10)
    seen = found.kind.name, found.rip, bench.ram.u32[CODE_PA + 0x100 >> 2], found.instruction_length
    return seen, ("CPUID", 6, 0x1234, 2)


_QUICK: tuple[tuple[str, _Try], ...] = (
    ("the library is the version ntsim knows", _version),
    ("CPUID stops the engine with nothing executed", _stops_at("0fa2", _K.CPUID)),
    ("MOV to CR8 stops", _stops_at("440f22c0", _K.CR_WRITE)),
    ("RDMSR stops", _stops_at("0f32", _K.RDMSR)),
    ("OUT stops", _stops_at("ee", _K.IO)),
    ("VMXON stops", _stops_at("f30fc73424", _K.VMX_INSTRUCTION)),
    ("instructions are counted exactly", _counts),
    ("HLT ends a run", _halts),
    ("page faults tell address and error code, again and again", _page_faults),
)
_FULL: tuple[tuple[str, _Try], ...] = (
    ("IN leaves RAX alone", _in_leaves_rax),
    ("WRMSR stops", _stops_at("0f30", _K.WRMSR)),
    ("RDTSC stops", _stops_at("0f31", _K.RDTSC)),
    ("RDTSCP stops", _stops_at("0f01f9", _K.RDTSCP)),
    ("RDPMC stops", _stops_at("0f33", _K.RDPMC)),
    ("PAUSE stops", _stops_at("f390", _K.PAUSE)),
    ("INVLPG stops", _stops_at("0f0138", _K.INVLPG)),
    ("WBINVD stops", _stops_at("0f09", _K.WBINVD)),
    ("MOV from CR3 stops", _stops_at("0f20d8", _K.CR_READ)),
    ("CLTS stops", _stops_at("0f06", _K.CR_WRITE)),
    ("MOV to DR7 stops", _stops_at("0f23f8", _K.DR_WRITE)),
    ("LGDT stops", _stops_at("0f011424", _K.DESCRIPTOR_TABLE)),
    ("STR stops", _stops_at("0f00c8", _K.DESCRIPTOR_TABLE)),
    ("INT n stops", _stops_at("cd2e", _K.SOFTWARE_INTERRUPT)),
    ("INT3 stops", _stops_at("cc", _K.SOFTWARE_INTERRUPT)),
    ("MONITOR stops", _stops_at("0f01c8", _K.MONITOR)),
    ("SYSCALL stops", _stops_at("0f05", _K.SYSCALL)),
    ("VMLAUNCH stops", _stops_at("0f01c2", _K.VMX_INSTRUCTION)),
    ("VMCALL stops", _stops_at("0f01c1", _K.VMX_INSTRUCTION)),
    ("VMREAD stops", _stops_at("0f78c3", _K.VMX_INSTRUCTION)),
    ("#GP tells its selector", _protection_error_code),
    ("RFLAGS.TF stops after one instruction", _single_steps),
    ("what the engine lacks is undefined, not wrong", _names_undefined),
    ("vector registers are loaded and read", _vector_registers),
    ("nested page faults stop, and resume once mapped", _nested_fault),
    ("two worlds alternate at one address", _worlds_alternate),
    ("changed code is translated again", _code_changes),
    ("real mode runs", _real_mode),
)


def _attempts(bench: Bench, attempts: tuple[tuple[str, _Try], ...]) -> Iterator[Check]:
    for name, attempt in attempts:
        seen, expected = attempt(bench)
        ok = seen == expected
        yield Check(name, ok, f"{seen}" if ok else f"saw {seen}, expected {expected}")


def quick(native: Native) -> list[Check]:
    """The checks of every start, on an instance that nobody runs on yet."""
    return list(_attempts(Bench(Engine.on(native, Ram(_RAM_SIZE))), _QUICK))


def selftest() -> list[Check]:
    """All checks; a library that fails badly raises EngineError."""
    return list(_attempts(Bench(), _QUICK + _FULL))
