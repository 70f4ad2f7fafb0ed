"""Kernel patch protection: code, tables, MSRs and control registers that are changed.

Windows compares what matters with what it was, again and again at times that cannot be foreseen,
and stops with 0x109. Here each processor looks at itself, at DISPATCH_LEVEL, between two and ten
minutes (by the machine's seed) after boot and after every look. It reads as any code does: in a
guest RDMSR, MOV from CR and SGDT exit where the controls say so, memory goes through EPT, and a
hypervisor may hide what it has changed. A processor in root operation, or out of it, whose GDTR and
IDTR still have the limits that a VM exit loads, 0xFFFF, has changed tables.

The look is no timer, or no run would ever be idle. But when nothing else is going to happen and
something is changed, time jumps to it.

Parameters 1 and 2 are reserved; in dumps they are kernel addresses plus constants, as here.
Parameter 3 is the routine (inferred: in dumps it is an address in nt), the table's base, the MSR's
number or the control register's; parameter 4 the kind. Service tables and their descriptors are
regions of generic data, whose beginning parameter 3 is (tandasat/HyperPlatform issue 61, a dump
with a changed byte in the middle of one; that the tables are of that kind is inferred).
Sources: bug check 0x109 reference; SinaKarvandi/Hypervisor-From-Scratch issue 16 and tandasat/
HyperPlatform issue 51, dumps of hypervisors that left the GDT's limit (3 is the GDT's base). The
times are inferred: reports say minutes to hours.

Windows also compares what is not looked at here: interrupt dispatch, object types, process and
module lists, and the dispatch tables (kind 0x1C) of some of its own drivers, which this machine has
not got; a third-party driver's is nobody's but its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.hw.cpu import (
    IA32_CSTAR,
    IA32_EFER,
    IA32_FMASK,
    IA32_LSTAR,
    IA32_STAR,
    IA32_SYSENTER_CS,
    IA32_SYSENTER_EIP,
    IA32_SYSENTER_ESP,
    Processor,
)
from ntsim.hw.exceptions import ProcessorException
from ntsim.hw.prng import Random
from ntsim.nt.events import StructureChanged
from ntsim.nt.ki.protected_code import ProtectedCode

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

IDT_CHANGED, GDT_CHANGED, MSR_CHANGED, CONTROL_REGISTER_CHANGED = 2, 3, 7, 0x15
EARLIEST_100NS, SPREAD_100NS = 120 * 10_000_000, 480 * 10_000_000

MSRS = {
    IA32_LSTAR: "IA32_LSTAR",
    IA32_CSTAR: "IA32_CSTAR",
    IA32_STAR: "IA32_STAR",
    IA32_FMASK: "IA32_FMASK",
    IA32_EFER: "IA32_EFER",
    IA32_SYSENTER_CS: "IA32_SYSENTER_CS",
    IA32_SYSENTER_ESP: "IA32_SYSENTER_ESP",
    IA32_SYSENTER_EIP: "IA32_SYSENTER_EIP",
}
CONTROL_BITS = {0: 1 << 16, 4: 1 << 20 | 1 << 21}
"""CR0.WP; CR4.SMEP and SMAP: bits that were set and may not be cleared."""

_CONTEXT, _CHECK = 0xA3A0_3F58_91C8_B4E8, 0xB3B7_4BDE_E445_3415
_MASK = 0xFFFF_FFFF_FFFF_FFFF

Change = tuple[int, int, str, int, int]
"""(kind, parameter 3, what it is, what it was, what it is now)."""


class Reference:
    """One processor as it was when the system had started."""

    __slots__ = ("controls", "gdt", "gdtr", "idt", "idtr", "msrs")

    def __init__(self, nt: Kernel, processor: Processor) -> None:
        self.gdtr = processor.gdtr.base, processor.gdtr.limit
        self.idtr = processor.idtr.base, processor.idtr.limit
        self.gdt = nt.mmu.read(self.gdtr[0], self.gdtr[1] + 1)
        self.idt = nt.mmu.read(self.idtr[0], self.idtr[1] + 1)
        self.msrs = {index: processor.rdmsr(index) for index in MSRS}
        self.controls = {0: processor.cr0, 4: processor.cr4}

    def tables(self, nt: Kernel, processor: Processor) -> Change | None:
        """Where the tables lie, how long they are, and what is in them."""
        parts = (
            (GDT_CHANGED, "GDT", "sgdt", processor.gdtr, self.gdtr, self.gdt),
            (IDT_CHANGED, "IDT", "sidt", processor.idtr, self.idtr, self.idt),
        )
        for kind, name, instruction, now, was, contents in parts:
            if not processor.descriptor_table(instruction):
                continue
            for field, before, after in (("base", was[0], now.base), ("limit", was[1], now.limit)):
                if before != after:
                    return kind, now.base, f"the {name}'s {field}", before, after
            found = nt.mmu.read(was[0], len(contents))
            if found != contents:
                at = next(i for i in range(len(found)) if found[i] != contents[i]) & ~7
                entry = slice(at, at + 8)
                before = int.from_bytes(contents[entry], "little")
                after = int.from_bytes(found[entry], "little")
                return kind, now.base, f"the {name} at offset {at:#x}", before, after
        return None

    def registers(self, processor: Processor) -> Change | None:
        """MSRs and control registers, as RDMSR and MOV show them."""
        for index, was in self.msrs.items():
            try:
                now = processor.rdmsr(index)
            except ProcessorException:
                continue
            if now != was:
                return MSR_CHANGED, index, MSRS[index], was, now
        for number, bits in CONTROL_BITS.items():
            was, now = self.controls[number] & bits, processor.mov_from_cr(number) & bits
            if was & ~now:
                return CONTROL_REGISTER_CHANGED, number, f"CR{number}", was, now
        return None


class Integrity:
    """Patch protection of one machine; `due` is when the processors look next.

    `code` is the kernel's code that lies in memory.
    """

    def __init__(self, nt: Kernel, seed: int) -> None:
        self.nt, self.random = nt, Random(seed, "patch protection")
        self.references = [Reference(nt, processor) for processor in nt.processors]
        self.code = ProtectedCode(nt)
        self.due = 0
        self.wanted: set[int] = set()
        self._choose()

    def _choose(self) -> None:
        self.due = self.nt.il.clock.now + EARLIEST_100NS + self.random.below(SPREAD_100NS)

    def begin(self) -> None:
        """It is time: every processor is to look at its next dispatch interrupt."""
        self._choose()
        self.wanted = {processor.number for processor in self.nt.processors}

    def look(self, processor: Processor) -> None:
        """Compare; 0x109 if something is not what it was."""
        self.wanted.discard(processor.number)
        found = self.changed(processor) or self.code.changed()
        if found is None:
            return
        kind, third, what, was, now = found
        nt = self.nt
        nt.emit(StructureChanged, what, was, now)
        context = int(nt.prcb[processor.number])
        first, second = context + _CONTEXT & _MASK, context + _CHECK & _MASK
        nt.bugcheck(bugcodes.CRITICAL_STRUCTURE_CORRUPTION, first, second, third, kind)

    def changed(self, processor: Processor) -> Change | None:
        """The first difference in its tables and registers; the current one, if it is a guest."""
        reference = self.references[processor.number]
        return reference.tables(self.nt, processor) or reference.registers(processor)

    def next_look(self) -> tuple[int, int] | None:
        """(time, processor) of the look that will find something, for a machine with nothing to do.

        A guest is not asked: what it would answer may not be what its registers hold.
        """
        nt = self.nt
        asked = [p for p in nt.processors if nt.vmx_mode(p) != "non-root"]
        for processor in asked:
            if self.changed(processor) is not None:
                return self.due, processor.number
        if asked and self.code.changed_in_memory() is not None:
            return self.due, asked[0].number
        return None

