"""A machine reduced to what VT-x needs: RAM, processors, one VMX unit each."""

from collections.abc import Callable

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.hw.clock import Clock
from ntsim.hw.cpu import Processor
from ntsim.hw.cpu_model import DEFAULT, CpuModel
from ntsim.hw.ports import PortBus
from ntsim.hw.ram import Ram
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.entry import EntryMode, audit
from ntsim.hw.vmx.events import VmxEvent
from ntsim.hw.vmx.exits import GuestExit
from ntsim.hw.vmx.results import Entered, VmSucceed
from ntsim.hw.vmx.unit import VmxUnit
from ntsim.hw.vmx.vmcs import VmcsDirectory

CR4_VMXE = 1 << 13
REGION_BASE = 0x10_0000


class Rig:
    """`units[n]` is the VT-x of processor n; `events` is what they reported."""

    def __init__(self, processors: int = 1, model: CpuModel = DEFAULT) -> None:
        self.model = model
        self.ram = Ram(0x40_0000)
        self.capabilities = VmxCapabilities.of_model(model)
        self.directory = VmcsDirectory(self.capabilities)
        self.events: list[VmxEvent] = []
        self.units = [self._unit(n, processors) for n in range(processors)]
        self.unit = self.units[0]
        self.processor = self.unit.processor
        self._next_region = REGION_BASE

    def _unit(self, number: int, processors: int) -> VmxUnit:
        clock = Clock(self.model.tsc_hz)
        processor = Processor(number, processors, self.model, self.ram, clock, PortBus())
        processor.cr4 |= CR4_VMXE
        processor.cs.access_rights = 0xA09B
        unit = VmxUnit(processor, self.directory, self.events.append)
        processor.vmx = unit
        return unit

    def page(self, first_word: int | None = None, fill: int = 0) -> int:
        """A fresh page, its first 32 bits the revision identifier or `first_word`."""
        pa = self._next_region
        self._next_region += 0x1000
        word = self.capabilities.revision_id if first_word is None else first_word
        self.ram.write(pa, word.to_bytes(4, "little") + bytes([fill]) * 4092)
        return pa

    def in_root(self, number: int = 0) -> VmxUnit:
        """The unit of processor `number`, after a VMXON."""
        unit = self.units[number]
        unit.vmxon(self.page())
        assert unit.in_operation
        return unit

    def with_vmcs(self, number: int = 0) -> VmxUnit:
        """In root operation with a cleared VMCS current."""
        unit = self.in_root(number)
        pa = self.page()
        unit.vmclear(pa)
        unit.vmptrld(pa)
        assert unit.current_pointer == pa
        return unit


@pytest.fixture
def make_rig() -> Callable[..., Rig]:
    """Builds rigs: make_rig(processors=, model=)."""
    return Rig


@pytest.fixture
def rig() -> Rig:
    """One processor."""
    return Rig()


CODE_VA, DATA_VA, STACK_VA = 0xFFFF_F800_0000_0000, 0xFFFF_F800_0001_0000, 0xFFFF_F800_0002_0000
GDT_VA, IDT_VA, TSS_VA = 0xFFFF_F800_0003_0000, 0xFFFF_F800_0004_0000, 0xFFFF_F800_0005_0000
HANDLERS_VA, UNMAPPED_VA, READ_ONLY_VA = (
    0xFFFF_F800_0006_0000,
    0xFFFF_F800_0007_0000,
    0xFFFF_F800_0008_0000,
)
CODE_PA, DATA_PA, STACK_PA, GDT_PA, IDT_PA, TSS_PA, HANDLERS_PA = range(
    0x20_0000, 0x20_7000, 0x1000
)
TABLES_PA = 0x28_0000
CODE_SELECTOR, DATA_SELECTOR, TSS_SELECTOR, USER_DATA, USER_CODE = 0x10, 0x18, 0x40, 0x2B, 0x33
HOST_RIP, HOST_RSP = 0xFFFF_8000_0000_4000, 0xFFFF_8000_0000_8000
HANDLER_SIZE = 16
STACK_TOP = STACK_VA + 0x1000 - 0x10
IST_TOP = STACK_VA + 0x800


def assemble(text: str, at: int = CODE_VA) -> bytes:
    """x86-64 machine code."""
    import keystone

    code, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64).asm(text, at)
    return bytes(code)


def valid_fields(caps: VmxCapabilities, processor: Processor, root: int) -> dict[int, int]:
    """A VMCS that enters a 64-bit guest whose page tables are at `root`."""
    fields = {
        f.PIN_BASED_VM_EXEC_CONTROL: caps.pin_based.adjust(0),
        f.CPU_BASED_VM_EXEC_CONTROL: caps.primary.adjust(f.CPU_BASED_HLT_EXITING),
        f.VM_EXIT_CONTROLS: caps.vm_exit.adjust(f.VM_EXIT_HOST_ADDRESS_SPACE_SIZE),
        f.VM_ENTRY_CONTROLS: caps.vm_entry.adjust(f.VM_ENTRY_IA32E_MODE_GUEST),
        f.EXCEPTION_BITMAP: 0,
        f.VMCS_LINK_POINTER: 0xFFFF_FFFF_FFFF_FFFF,
        f.HOST_CR0: processor.cr0,
        f.HOST_CR3: 0x1000,
        f.HOST_CR4: processor.cr4,
        f.HOST_CS_SELECTOR: 0x10,
        f.HOST_SS_SELECTOR: 0x18,
        f.HOST_TR_SELECTOR: 0x40,
        f.HOST_GS_BASE: 0xFFFF_8000_1234_0000,
        f.HOST_GDTR_BASE: GDT_VA,
        f.HOST_IDTR_BASE: IDT_VA,
        f.HOST_RIP: HOST_RIP,
        f.HOST_RSP: HOST_RSP,
        f.GUEST_CR0: processor.cr0,
        f.GUEST_CR3: root,
        f.GUEST_CR4: processor.cr4,
        f.GUEST_RIP: CODE_VA,
        f.GUEST_RSP: STACK_TOP,
        f.GUEST_RFLAGS: 2,
        f.GUEST_DR7: 0x400,
        f.GUEST_CS_SELECTOR: CODE_SELECTOR,
        f.GUEST_CS_LIMIT: 0xFFFF_FFFF,
        f.GUEST_CS_AR_BYTES: 0xA09B,
        f.GUEST_TR_SELECTOR: TSS_SELECTOR,
        f.GUEST_TR_BASE: TSS_VA,
        f.GUEST_TR_LIMIT: 0x67,
        f.GUEST_TR_AR_BYTES: 0x8B,
        f.GUEST_LDTR_AR_BYTES: 0x10000,
        f.GUEST_GDTR_BASE: GDT_VA,
        f.GUEST_GDTR_LIMIT: 0x57,
        f.GUEST_IDTR_BASE: IDT_VA,
        f.GUEST_IDTR_LIMIT: 0xFFF,
    }
    for name in ("ES", "SS", "DS", "FS", "GS"):
        fields[getattr(f, f"GUEST_{name}_SELECTOR")] = DATA_SELECTOR
        fields[getattr(f, f"GUEST_{name}_LIMIT")] = 0xFFFF_FFFF
        fields[getattr(f, f"GUEST_{name}_AR_BYTES")] = 0xC093
    return fields


class GuestRig(Rig):
    """A rig with a 64-bit guest: page tables, GDT, IDT and TSS in memory, a valid VMCS current.

    The handler of vector n is a HLT at HANDLERS_VA + 16 * n.
    """

    def __init__(self, model: CpuModel = DEFAULT) -> None:
        from ntsim.hw.engine import Engine
        from ntsim.hw.paging import PTE_PRESENT, PTE_USER, PTE_WRITE, PageTables

        super().__init__(1, model)
        self.engine = Engine(self.ram)
        self.unit.engine = self.engine
        self._next_table = TABLES_PA
        self.tables = PageTables(self.ram, self._new_table)
        self.root = self._new_table()
        everything = PTE_PRESENT | PTE_WRITE | PTE_USER
        for va, pa in (
            (CODE_VA, CODE_PA),
            (DATA_VA, DATA_PA),
            (STACK_VA, STACK_PA),
            (GDT_VA, GDT_PA),
            (IDT_VA, IDT_PA),
            (TSS_VA, TSS_PA),
            (HANDLERS_VA, HANDLERS_PA),
        ):
            self.tables.write(self.root, va, pa | everything)
        self.tables.write(self.root, READ_ONLY_VA, DATA_PA | PTE_PRESENT | PTE_USER)
        for level in (4, 3, 2):  # PageTables gives kernel addresses supervisor tables
            at = self.tables.entry_address(self.root, CODE_VA, level)
            assert at is not None
            self.ram.u64[at >> 3] |= PTE_USER
        self._descriptors()
        self.with_vmcs()
        self.write_fields(valid_fields(self.capabilities, self.processor, self.root))

    def _new_table(self) -> int:
        self._next_table += 0x1000
        return self._next_table - 0x1000

    def _descriptors(self) -> None:
        words = self.ram.u64
        gdt = GDT_PA >> 3
        words[gdt + 2] = 0x00AF_9B00_0000_FFFF  # 64-bit code
        words[gdt + 3] = 0x00CF_9300_0000_FFFF
        words[gdt + 5] = 0x00CF_F300_0000_FFFF
        words[gdt + 6] = 0x00AF_FB00_0000_FFFF
        for vector in range(256):
            self.set_gate(vector)
        self.ram.write(TSS_PA + 4, STACK_TOP.to_bytes(8, "little"))
        self.ram.write(TSS_PA + 36, IST_TOP.to_bytes(8, "little"))
        self.ram.write(HANDLERS_PA, (b"\xf4" + bytes(HANDLER_SIZE - 1)) * 256)

    def set_gate(self, vector: int, *, rights: int = 0x8E, ist: int = 0) -> None:
        """Point an IDT entry at the vector's handler; rights 0x8E is a ring-0 interrupt gate."""
        offset = HANDLERS_VA + vector * HANDLER_SIZE
        low = offset & 0xFFFF | CODE_SELECTOR << 16 | ist << 32 | rights << 40
        low |= (offset >> 16 & 0xFFFF) << 48
        words, at = self.ram.u64, IDT_PA + 16 * vector >> 3
        words[at], words[at + 1] = low, offset >> 32

    def write_fields(self, fields: dict[int, int]) -> None:
        for encoding, value in fields.items():
            assert self.unit.vmwrite(encoding, value) == VmSucceed()

    def read(self, encoding: int) -> int:
        """VMREAD."""
        result = self.unit.vmread(encoding)
        assert isinstance(result, VmSucceed)
        return result.value

    def control(self, field: int, bits: int, *, clear: bool = False) -> None:
        """Turn control bits on (or off)."""
        value = self.read(field)
        self.write_fields({field: value & ~bits if clear else value | bits})

    def put(self, code: str | bytes, at: int = 0) -> bytes:
        """Place code in the guest's code page."""
        raw = assemble(code, CODE_VA + at) if isinstance(code, str) else code
        self.engine.write_code(CODE_PA + at, raw)
        return raw

    def enable_ept(self, eptp_bits: int = 0x1E) -> None:
        """EPT with everything the guest uses mapped to itself, page by page."""
        self.unit.new_frame = lambda: self.page(0)
        self.ept_root = self.page(0)
        for pa in range(0x20_0000, 0x30_0000, 0x1000):
            self.set_ept(pa, pa | 0x37)
        self.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)
        self.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_ENABLE_EPT)
        self.write_fields({f.EPT_POINTER: self.ept_root | eptp_bits})

    def set_ept(self, address: int, entry: int, level: int = 1) -> None:
        """Write the EPT entry of a guest-physical address at `level`, with tables on the way."""
        table, words = self.ept_root, self.ram.u64
        for depth in (4, 3, 2, 1):
            place = table + (address >> 3 + 9 * depth & 0x1FF) * 8
            if depth == level:
                words[place >> 3] = entry
                return
            if not words[place >> 3]:
                words[place >> 3] = self.page(0) | 7
            table = words[place >> 3] & ~0xFFF

    def launch(self, code: str | bytes | None = None, **gpr: int) -> GuestExit:
        """VMLAUNCH and run to the first exit."""
        if code is not None:
            self.put(code)
        for name, value in gpr.items():
            self.unit.gpr[_GPR[name]] = value
        result = self.unit.vmlaunch()
        assert isinstance(result, Entered), result
        return self.go()

    def resume(self, skip: bool = True) -> GuestExit:
        """VMRESUME, behind the instruction that exited, and run to the next exit."""
        if skip:
            length = self.read(f.VM_EXIT_INSTRUCTION_LEN)
            self.write_fields({f.GUEST_RIP: self.read(f.GUEST_RIP) + length})
        result = self.unit.vmresume()
        assert isinstance(result, Entered), result
        return self.go()

    def go(self, steps: int = 10_000) -> GuestExit:
        found = self.unit.run_guest(steps)
        assert found is not None, f"no exit in {steps} instructions, RIP {self.processor.rip:#x}"
        assert self.unit.current is not None
        wrong = audit(self.unit.current, self.capabilities, self.ram, EntryMode())
        assert not wrong, f"an exit saved what no entry accepts: {wrong[0]}"
        return found

    def gpr(self, name: str) -> int:
        return self.unit.gpr[_GPR[name]]


_GPR = {name: n for n, name in enumerate("rax rcx rdx rbx rsp rbp rsi rdi".split())} | {
    f"r{n}": n for n in range(8, 16)
}


@pytest.fixture
def at() -> dict[str, int]:
    """Linear and physical addresses of the guest's pages."""
    return {name.lower(): value for name, value in globals().items() if name.endswith("_VA")} | {
        name.lower(): value for name, value in globals().items() if name.endswith("_PA")
    }


@pytest.fixture
def guest() -> GuestRig:
    """A 64-bit guest, ready to launch."""
    return GuestRig()
