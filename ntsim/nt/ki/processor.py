"""A processor's control structures: KPCR with the KPRCB, GDT, IDT, TSS and DPC stack, as bytes.

Selectors are Windows': 0x10 kernel code, 0x18 kernel data, 0x20 and 0x28 user code and data, 0x30
user 64-bit code, 0x40 the TSS, 0x50 the TEB segment. Gates point at nt!Ki* routines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.ke import KPCR, KPRCB, KTSS64
from ntsim.hw.cpu import (
    IA32_GS_BASE,
    IA32_KERNEL_GS_BASE,
    IA32_LSTAR,
    RFLAGS_IF,
    Processor,
)
from ntsim.nt.mm import layout
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

KPCR_PAGES = -(-KPCR.size // 0x1000)
TABLES_PAGE, DPC_STACK_PAGES = 2, 4
GDT_SIZE, IDT_SIZE = 0x60, 0x1000
TSS_LIMIT = 0x67
MAXIMUM_PROCESSORS = 65  # and a NULL behind the last
_GDT = {
    0x10: 0x0020_9B00_0000_0000,
    0x18: 0x00CF_9300_0000_FFFF,
    0x20: 0x00CF_FB00_0000_FFFF,
    0x28: 0x00CF_F300_0000_FFFF,
    0x30: 0x0020_FB00_0000_0000,
    0x50: 0x0040_F300_0000_3C00,
}
_GATES = {
    0x00: "KiDivideErrorFault", 0x01: "KiDebugTrapOrFault", 0x02: "KiNmiInterrupt",
    0x03: "KiBreakpointTrap", 0x04: "KiOverflowTrap", 0x05: "KiBoundFault",
    0x06: "KiInvalidOpcodeFault", 0x07: "KiNpxNotAvailableFault", 0x08: "KiDoubleFaultAbort",
    0x09: "KiNpxSegmentOverrunAbort", 0x0A: "KiInvalidTssFault", 0x0B: "KiSegmentNotPresentFault",
    0x0C: "KiStackFault", 0x0D: "KiGeneralProtectionFault", 0x0E: "KiPageFault",
    0x10: "KiFloatingErrorFault", 0x11: "KiAlignmentFault", 0x12: "KiMcheckAbort",
    0x13: "KiXmmException", 0x14: "KiVirtualizationException",
    0x1F: "KiApcInterrupt", 0x20: "KiSwInterrupt",
    0x29: "KiRaiseSecurityCheckFailure",
    0x2C: "KiRaiseAssertion", 0x2D: "KiDebugServiceTrap", 0x2F: "KiDpcInterrupt",
    0xD1: "KiClockInterrupt", 0xE1: "KiIpiInterrupt",
}  # fmt: skip
_NO_GATE = "KiUnexpectedInterrupt"
IST = {0x01: 0, 0x02: 3, 0x08: 1, 0x12: 2}


def gate_name(vector: int) -> str:
    """The kernel's routine that a gate leads to."""
    return _GATES.get(vector, _NO_GATE)


def ki_initialize_processor(nt: Kernel, processor: Processor) -> None:
    """Allocate and fill the structures, and load the registers that point at them."""
    mm = nt.mm
    pages = KPCR_PAGES + TABLES_PAGE + DPC_STACK_PAGES
    base = mm.system.allocate(mm.processor_region, pages)
    pcr = KPCR.at(nt.mmu, base)
    prcb = KPRCB.at(nt.mmu, base + KPCR.offset_of("Prcb"))
    gdt = base + KPCR_PAGES * 0x1000 + 0x1000
    tss = gdt + 0x100
    idt = base + KPCR_PAGES * 0x1000
    stack = base + pages * 0x1000
    _fill_gdt(nt, gdt, tss)
    _fill_idt(nt, idt)
    _fill_tss(nt, tss, stack)
    v = pcr._v
    v.GdtBase, v.TssBase, v.IdtBase = gdt, tss, idt
    v.Self, v.CurrentPrcb = base, int(prcb)
    v.MajorVersion, v.MinorVersion = 1, 1
    _fill_prcb(nt, processor, prcb, stack)
    nt.prcb.append(prcb)
    block = mi_variable(nt, "KiProcessorBlock", 8 * MAXIMUM_PROCESSORS)
    nt.write_pointer(block + 8 * processor.number, int(prcb))
    _load_registers(processor, gdt, idt, tss, base)


def _fill_gdt(nt: Kernel, gdt: int, tss: int) -> None:
    for selector, descriptor in _GDT.items():
        nt.write_pointer(gdt + selector, descriptor)
    low = TSS_LIMIT | (tss & 0xFFFFFF) << 16 | 0x8B << 40 | (tss >> 24 & 0xFF) << 56
    nt.write_pointer(gdt + 0x40, low)
    nt.write_pointer(gdt + 0x48, tss >> 32)


def _fill_idt(nt: Kernel, idt: int) -> None:
    nt.nt_image.find_named(_NO_GATE) or nt.nt_image.add_symbol(_NO_GATE, 16)
    data = bytearray()
    for vector in range(256):
        name = gate_name(vector)
        symbol = nt.nt_image.find_named(name) or nt.nt_image.add_symbol(name, 16)
        offset, ring = symbol.address, 3 if vector in (3, 4, 0x29, 0x2C, 0x2D) else 0
        gate = (offset & 0xFFFF) | 0x10 << 16 | IST.get(vector, 0) << 32
        gate |= (0x8E | ring << 5) << 40 | (offset >> 16 & 0xFFFF) << 48
        data += gate.to_bytes(8, "little") + (offset >> 32).to_bytes(8, "little")
    nt.mmu.write(idt, bytes(data))


def _fill_tss(nt: Kernel, tss: int, stack: int) -> None:
    t = KTSS64.at(nt.mmu, tss)
    t._v.IoMapBase = 0x68
    for i in range(1, 4):
        t.Ist[i] = stack - 0x400 * i


def _fill_prcb(nt: Kernel, processor: Processor, prcb: Any, stack: int) -> None:
    v = prcb._v
    v.Number = v.LegacyNumber = processor.number
    v.GroupSetMember = 1 << processor.number
    v.MajorVersion = v.MinorVersion = 1
    v.DpcStack = stack
    v.DpcTimeLimit = 0x500
    v.MHz = 2700
    leaf = processor.cpuid(0)
    vendor = b"".join(r.to_bytes(4, "little") for r in (leaf[1], leaf[3], leaf[2]))
    prcb.VendorString = vendor
    for priority in range(32):
        head = int(prcb) + KPRCB.offset_of("DispatcherReadyListHead") + 16 * priority
        lists.initialize(nt.mmu, head)


def _load_registers(processor: Processor, gdt: int, idt: int, tss: int, pcr: int) -> None:
    processor.gdtr.base, processor.gdtr.limit = gdt, GDT_SIZE - 1 - 8
    processor.idtr.base, processor.idtr.limit = idt, IDT_SIZE - 1
    processor.cs.set(0x10, 0, 0, 0x209B)
    processor.ss.set(0x18, 0, 0, 0x4093)
    for segment in (processor.ds, processor.es):
        segment.set(0x2B, 0, 0xFFFFFFFF, 0xC0F3)
    processor.fs.set(0x53, 0, 0x3C00, 0x40F3)
    processor.gs.set(0x2B, pcr, 0xFFFFFFFF, 0xC0F3)
    processor.ldtr.set(0, 0, 0, 1 << 16)
    processor.tr.set(0x40, tss, TSS_LIMIT, 0x8B)
    processor.write_msr(IA32_GS_BASE, pcr)
    processor.msrs[IA32_KERNEL_GS_BASE] = 0
    processor.rflags |= RFLAGS_IF


def ki_set_syscall_entry(nt: Kernel) -> None:
    """LSTAR is nt!KiSystemCall64 on every processor."""
    nt.nt_image.define("KiSystemCall64", layout.KI_SYSTEM_CALL_64, 0x400)
    nt.nt_image.define("KiSystemStartup", layout.KI_SYSTEM_STARTUP, 0x400)
    nt.nt_image.entry_point = layout.KI_SYSTEM_STARTUP
    for processor in nt.processors:
        processor.msrs[IA32_LSTAR] = layout.KI_SYSTEM_CALL_64
