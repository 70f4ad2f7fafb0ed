"""A logical processor: architectural registers and the rules for changing them.

Every privileged operation of code that Python executes (kernel, driver, intrinsic) is a method
here, so that the conditions of the instruction (SDM 2, its "64-Bit Mode Exceptions") stand in one
place. A fault is a `ProcessorException`; nothing has changed when one is raised.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from typing import Any

from ntsim.abi.x86_constants import VECTOR_DB
from ntsim.hw.apic import Apic
from ntsim.hw.clock import Clock
from ntsim.hw.cpu_model import CpuModel
from ntsim.hw.exceptions import ProcessorException, general_protection, invalid_opcode
from ntsim.hw.paging import is_canonical
from ntsim.hw.ports import PortBus
from ntsim.hw.ram import Ram

RFLAGS_FIXED = 0x2
RFLAGS_IF = 1 << 9
RFLAGS_VM = 1 << 17

CR0_PE, CR0_MP, CR0_ET, CR0_NE = 1 << 0, 1 << 1, 1 << 4, 1 << 5
CR0_WP, CR0_AM, CR0_NW, CR0_CD, CR0_PG = 1 << 16, 1 << 18, 1 << 29, 1 << 30, 1 << 31
CR4_DE, CR4_PSE, CR4_PAE, CR4_MCE, CR4_PGE = 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7
CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_VMXE, CR4_PCIDE = 1 << 9, 1 << 10, 1 << 13, 1 << 17
CR4_OSXSAVE = 1 << 18

IA32_TSC, IA32_APIC_BASE, IA32_FEATURE_CONTROL = 0x10, 0x1B, 0x3A
IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP = 0x174, 0x175, 0x176
IA32_DEBUGCTL, IA32_PAT, IA32_MISC_ENABLE = 0x1D9, 0x277, 0x1A0
IA32_EFER, IA32_STAR, IA32_LSTAR = 0xC000_0080, 0xC000_0081, 0xC000_0082
IA32_CSTAR, IA32_FMASK = 0xC000_0083, 0xC000_0084
IA32_FS_BASE, IA32_GS_BASE, IA32_KERNEL_GS_BASE = 0xC000_0100, 0xC000_0101, 0xC000_0102
IA32_TSC_AUX = 0xC000_0103
EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE = 1 << 0, 1 << 8, 1 << 10, 1 << 11

_CANONICAL_MSRS = frozenset(
    {IA32_LSTAR, IA32_CSTAR, IA32_FS_BASE, IA32_GS_BASE, IA32_KERNEL_GS_BASE}
    | {IA32_SYSENTER_ESP, IA32_SYSENTER_EIP}
)
_VMX_CAPABILITIES = range(0x480, 0x492)
_CPUID_7_EBX_INVPCID = 1 << 10
_CPUID_1_ECX_XSAVE = 1 << 26
_DR_RESERVED_ONES = {6: 0xFFFF_0FF0, 7: 0x400}
_DR7_GENERAL_DETECT, _DR6_BD = 1 << 13, 1 << 13
_EFER_ALLOWED = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE


class Segment(ctypes.Structure):
    """A segment register: selector and the hidden part (access rights in VMX format)."""

    __slots__ = ()
    UNUSABLE = 1 << 16

    selector: int
    base: int
    limit: int
    access_rights: int
    _fields_ = (
        ("selector", ctypes.c_uint32),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("access_rights", ctypes.c_uint32),
    )

    def __init__(self, selector: int = 0, base: int = 0, limit: int = 0, rights: int = UNUSABLE):
        self.set(selector, base, limit, rights)

    def set(self, selector: int, base: int, limit: int, rights: int) -> None:
        self.selector, self.base, self.limit, self.access_rights = selector, base, limit, rights


class DescriptorTable(ctypes.Structure):
    """GDTR or IDTR."""

    __slots__ = ()
    base: int
    limit: int
    _fields_ = (("base", ctypes.c_uint64), ("limit", ctypes.c_uint32))

    def __init__(self, base: int = 0, limit: int = 0xFFFF) -> None:
        self.base, self.limit = base, limit


SEGMENT_NAMES = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
_SEGMENTS_AND_TABLES = struct.Struct("<" + "I4xQII" * len(SEGMENT_NAMES) + "QI4x" * 2)
_SEGMENT_BYTES, _TABLE_BYTES = ctypes.sizeof(Segment), ctypes.sizeof(DescriptorTable)
assert _SEGMENTS_AND_TABLES.size == len(SEGMENT_NAMES) * _SEGMENT_BYTES + 2 * _TABLE_BYTES

CS_RIGHTS_15_8 = (SEGMENT_NAMES.index("cs") + 1) * _SEGMENT_BYTES - 3
"""Where in `Processor.segments` bits 15:8 of the access rights of CS are, the last four bytes of a
segment: a byte is read faster than the field."""


def pack_segments(values: Iterable[int]) -> bytes:
    """What `Processor.segments` holds, from selector, base, limit and rights of each segment
    register in the order of SEGMENT_NAMES, then base and limit of GDTR and IDTR.
    """
    return _SEGMENTS_AND_TABLES.pack(*values)


def unpack_segments(state: bytes | bytearray) -> tuple[int, ...]:
    """The numbers that `pack_segments` packs."""
    return _SEGMENTS_AND_TABLES.unpack(state)


_UNUSABLE_SEGMENTS = pack_segments(
    (*(0, 0, 0, Segment.UNUSABLE) * len(SEGMENT_NAMES), *(0, 0xFFFF) * 2)
)


class Processor:
    """One logical processor.

    The segment registers, GDTR and IDTR lie side by side in `segments`, so that VM entries and VM
    exits load and compare all of them at once; `cs` and so on are views of it.
    `cr8` is the IRQL of x64 Windows. `budget`, `halted`, `greenlet` and `spinning` belong to the
    interleaver: what is left of the processor's quantum in steps, whether it waits for an
    interrupt, and the host stack that is executing on it;
    `context` is what the operating system runs on it (the kernel's thread).
    """

    __slots__ = (
        "apic",
        "budget",
        "clock",
        "context",
        "cpl",
        "cr0",
        "cr2",
        "cr3",
        "cr4",
        "cr8",
        "cs",
        "dr",
        "ds",
        "es",
        "fs",
        "gdtr",
        "greenlet",
        "gs",
        "halted",
        "idtr",
        "ldtr",
        "memory",
        "model",
        "mov_ss_blocking",
        "msrs",
        "next_tick",
        "number",
        "ports",
        "processors",
        "rflags",
        "rip",
        "rsp",
        "segments",
        "spinning",
        "ss",
        "tr",
        "vmx",
    )  # fmt: skip

    def __init__(
        self, number: int, processors: int, model: CpuModel, ram: Ram, clock: Clock, ports: PortBus
    ) -> None:
        self.number, self.processors = number, processors
        self.model, self.memory, self.clock, self.ports = model, ram, clock, ports
        self.apic = Apic()
        self.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG
        self.cr2 = self.cr3 = self.cr8 = 0
        self.cr4 = CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT
        self.dr = [0, 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x400]
        self.rflags = RFLAGS_FIXED
        self.rip = self.rsp = 0
        self.cpl = 0
        self.segments = bytearray(_UNUSABLE_SEGMENTS)
        self.es, self.cs, self.ss, self.ds, self.fs, self.gs, self.ldtr, self.tr = (
            Segment.from_buffer(self.segments, i * _SEGMENT_BYTES)
            for i in range(len(SEGMENT_NAMES))
        )
        tables = len(SEGMENT_NAMES) * _SEGMENT_BYTES
        self.gdtr = DescriptorTable.from_buffer(self.segments, tables)
        self.idtr = DescriptorTable.from_buffer(self.segments, tables + _TABLE_BYTES)
        self.mov_ss_blocking = False
        self.msrs: dict[int, int] = {
            IA32_APIC_BASE: 0xFEE0_0800 | (0x100 if number == 0 else 0),
            IA32_EFER: EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
            IA32_PAT: 0x0007_0106_0007_0106,
            IA32_MISC_ENABLE: 0x85_0089,
            IA32_STAR: 0x0023_0010_0000_0000,
            IA32_FMASK: 0x4700,
            IA32_TSC_AUX: number,
            **dict.fromkeys((IA32_LSTAR, IA32_CSTAR, IA32_DEBUGCTL, IA32_SYSENTER_CS), 0),
            **dict.fromkeys((IA32_SYSENTER_ESP, IA32_SYSENTER_EIP), 0),
            **dict.fromkeys((IA32_FS_BASE, IA32_GS_BASE, IA32_KERNEL_GS_BASE), 0),
            **model.msrs,
        }
        self.vmx: Any = None
        self.budget = 0
        self.halted = False
        self.spinning = False
        self.greenlet: Any = None
        self.context: Any = None
        self.next_tick = 0

    def __repr__(self) -> str:
        return f"processor {self.number}"

    @property
    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF."""
        return bool(self.rflags & RFLAGS_IF)

    @property
    def deadline(self) -> int | None:
        """The interrupt time at which a guest's VMX-preemption timer has expired."""
        unit = self.vmx
        if unit is None or unit.timer_deadline is None:
            return None
        return self.clock.when(unit.timer_deadline)

    @property
    def may_wake(self) -> bool:
        """Whether external interrupts end its HLT: RFLAGS.IF, or what VT-x says of a guest."""
        unit = self.vmx
        if unit is not None and unit.in_non_root:
            return bool(unit.interrupts_wake)
        return bool(self.rflags & RFLAGS_IF)

    @property
    def efer(self) -> int:
        return self.msrs[IA32_EFER]

    def read_msr(self, index: int) -> int:
        """The value of a register that exists, for the processor's own use; no checks."""
        if index == IA32_FS_BASE:
            return self.fs.base
        if index == IA32_GS_BASE:
            return self.gs.base
        return self.clock.tsc if index == IA32_TSC else self.msrs[index]

    def write_msr(self, index: int, value: int) -> None:
        """Store without checks."""
        if index == IA32_FS_BASE:
            self.fs.base = value
        elif index == IA32_GS_BASE:
            self.gs.base = value
        else:
            self.msrs[index] = value

    def rdmsr(self, index: int) -> int:
        """RDMSR; #GP(0) for a register this model does not have."""
        index &= 0xFFFF_FFFF
        if index != IA32_TSC and index not in self.msrs:
            raise general_protection(f"RDMSR of {index:#x}: {self.model.name} has no such register")
        if index in _VMX_CAPABILITIES and not self.model.has_vmx:
            raise general_protection(f"RDMSR of {index:#x}: CPUID.1:ECX.VMX is 0")
        return self.read_msr(index)

    def wrmsr(self, index: int, value: int) -> None:
        """WRMSR; #GP(0) for an absent or read-only register or a reserved value."""
        index &= 0xFFFF_FFFF
        if index != IA32_TSC and index not in self.msrs:
            raise general_protection(f"WRMSR of {index:#x}: {self.model.name} has no such register")
        if index in _VMX_CAPABILITIES:
            raise general_protection(f"WRMSR of {index:#x}: VMX capability registers are read-only")
        if index == IA32_FEATURE_CONTROL and self.msrs[index] & 1:
            raise general_protection("WRMSR of IA32_FEATURE_CONTROL: its lock bit is set")
        if index in _CANONICAL_MSRS and not is_canonical(value):
            raise general_protection(f"WRMSR of {index:#x}: {value:#x} is not canonical")
        if index == IA32_EFER:
            value = self._checked_efer(value)
        if index != IA32_TSC:
            self.write_msr(index, value & 0xFFFF_FFFF_FFFF_FFFF)

    def _checked_efer(self, value: int) -> int:
        if value & ~_EFER_ALLOWED:
            raise general_protection(f"WRMSR of IA32_EFER: reserved bits in {value:#x}")
        if (value ^ self.efer) & EFER_LME and self.cr0 & CR0_PG:
            raise general_protection("WRMSR of IA32_EFER: LME cannot change while paging is on")
        return (value & ~EFER_LMA) | (self.efer & EFER_LMA)

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """CPUID: (EAX, EBX, ECX, EDX)."""
        return self.model.leaf(
            leaf & 0xFFFF_FFFF,
            subleaf & 0xFFFF_FFFF,
            processor=self.number,
            processors=self.processors,
            osxsave=bool(self.cr4 & CR4_OSXSAVE),
        )

    def mov_from_cr(self, number: int) -> int:
        """MOV r64, CRn for CR0, CR2, CR3, CR4 and CR8."""
        return int(getattr(self, f"cr{number}"))

    def mov_to_cr(self, number: int, value: int) -> None:
        """MOV CRn, r64 with the checks of the SDM; CR8 is set through `set_cr8` by the kernel."""
        check = {
            0: self._check_cr0,
            3: self._check_cr3,
            4: self._check_cr4,
            8: self._check_cr8,
        }.get(number)
        if check is not None:
            check(value)
        setattr(self, f"cr{number}", value)

    def _check_cr0(self, value: int) -> None:
        if value >> 32:
            raise general_protection(f"MOV to CR0: bits 63:32 of {value:#x} are reserved")
        if not value & CR0_PG or not value & CR0_PE:
            raise general_protection("MOV to CR0: PG and PE cannot be cleared in 64-bit mode")
        if value & CR0_NW and not value & CR0_CD:
            raise general_protection("MOV to CR0: NW without CD")
        self._check_fixed("CR0", value, 0x486)

    def _check_cr3(self, value: int) -> None:
        if value >> self.model.physical_address_bits:
            raise general_protection(f"MOV to CR3: {value:#x} exceeds the physical-address width")

    def _check_cr4(self, value: int) -> None:
        allowed = self.model.msrs.get(0x489, 0x3767FF)
        if value & ~allowed:
            raise general_protection(f"MOV to CR4: bits {value & ~allowed:#x} are reserved")
        if value & CR4_OSXSAVE and not self.model.leaf(1)[2] & _CPUID_1_ECX_XSAVE:
            raise general_protection("MOV to CR4: OSXSAVE is reserved, CPUID.1:ECX.XSAVE is 0")
        if not value & CR4_PAE:
            raise general_protection("MOV to CR4: PAE cannot be cleared in 64-bit mode")
        if value & CR4_VMXE and not self.model.has_vmx:
            raise general_protection("MOV to CR4: VMXE is reserved, CPUID.1:ECX.VMX is 0")
        self._check_fixed("CR4", value, 0x488)

    def _check_cr8(self, value: int) -> None:
        if value & ~0xF:
            raise general_protection(f"MOV to CR8: bits 63:4 of {value:#x} are reserved")

    def _check_fixed(self, name: str, value: int, fixed0_msr: int) -> None:
        """Bits that VMX operation fixes (SDM 3, "Restrictions on VMX Operation")."""
        if self.vmx is None or not self.vmx.in_operation:
            return
        zeros = self.model.msrs[fixed0_msr] & ~value
        ones = value & ~self.model.msrs[fixed0_msr + 1]
        if zeros or ones:
            raise general_protection(
                f"MOV to {name}: VMX operation fixes bits {zeros | ones:#x} of it"
            )

    def mov_from_dr(self, number: int) -> int:
        """MOV r64, DRn at CPL 0."""
        return self.dr[self._debug_register(number)]

    def mov_to_dr(self, number: int, value: int) -> None:
        """MOV DRn, r64 at CPL 0; #GP(0) for bits 63:32 of DR6 and DR7."""
        number = self._debug_register(number)
        if number in _DR_RESERVED_ONES and value >> 32:
            raise general_protection(f"MOV to DR{number}: bits 63:32 are reserved")
        self.dr[number] = value | _DR_RESERVED_ONES.get(number, 0)

    def _debug_register(self, number: int) -> int:
        """The register that the number means: #UD for 4 and 5 with CR4.DE and above 7; DR7.GD makes
        every access a debug exception (SDM 3, "Debug Control Register (DR7)")."""
        if number > 7 or (number in (4, 5) and self.cr4 & CR4_DE):
            raise invalid_opcode(f"there is no DR{number}")
        if self.dr[7] & _DR7_GENERAL_DETECT:
            raise ProcessorException(VECTOR_DB, None, _DR6_BD, "DR7.GD")
        return number + 2 if number in (4, 5) else number

    def port_in(self, port: int, size: int) -> int:
        """IN of `size` bytes."""
        return self.ports.read(port & 0xFFFF, size)

    def port_out(self, port: int, size: int, value: int) -> None:
        """OUT of `size` bytes."""
        self.ports.write(port & 0xFFFF, size, value)

    # Where a hypervisor below this processor may come in: see ntsim.hw.vmx.virtualised

    def rdtsc(self, counter: int) -> int:
        """RDTSC, when the time-stamp counter is `counter`."""
        return counter

    def rdtscp(self, counter: int) -> tuple[int, int]:
        """RDTSCP: (the counter, IA32_TSC_AUX)."""
        return self.rdtsc(counter), self.msrs[IA32_TSC_AUX]

    def rdpmc(self, counter: int) -> int:
        """RDPMC: #GP(0), because there are no performance counters."""
        raise general_protection(f"RDPMC: there is no performance counter {counter:#x}")

    def monitor(self, address: int) -> None:
        """MONITOR: nobody watches the range."""

    def mwait(self) -> None:
        """MWAIT: it does not wait, as it need not (SDM 2, MWAIT: implementation-dependent)."""

    def hlt(self) -> bool:
        """HLT: whether the processor is to wait for an interrupt."""
        return True

    def awake(self) -> None:
        """Its HLT is over."""

    def pause(self) -> bool:
        """PAUSE: whether its caller is to let others run."""
        return True

    def invlpg(self, address: int) -> bool:
        """INVLPG: whether its caller is to forget the translation of `address`."""
        return True

    def invpcid(self, kind: int, descriptor: int, address: int, place: int = 0) -> bool:
        """INVPCID of a type with the two halves of its descriptor, which lies at `place`: whether
        its caller is to forget translations (SDM 2, INVPCID)."""
        if not self.model.leaf(7)[1] & _CPUID_7_EBX_INVPCID:
            raise invalid_opcode(f"INVPCID: {self.model.name} has no such instruction")
        if kind > 3 or descriptor >> 12:
            raise general_protection(f"INVPCID of type {kind:#x}, descriptor {descriptor:#x}")
        if kind < 2 and descriptor and not self.cr4 & CR4_PCIDE:
            raise general_protection(f"INVPCID of PCID {descriptor:#x} with CR4.PCIDE = 0")
        if kind == 0 and not is_canonical(address):
            raise general_protection(f"INVPCID of {address:#x}, which is not canonical")
        return True

    def wbinvd(self) -> None:
        """WBINVD: caches are not modelled, so there is nothing to write back."""

    def descriptor_table(self, name: str) -> bool:
        """SGDT, SIDT, LGDT, LIDT, SLDT, STR: whether its caller is to do it."""
        return True

    def excepted(self, error: ProcessorException) -> bool | None:
        """Whether the instruction is over that raised an exception: False if it is to be executed
        again; None if no hypervisor has taken the exception."""
        return None
