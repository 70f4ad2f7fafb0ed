"""What a world is made of: the processor state that lies outside the register file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ntsim.hw.cpu import (
    CR4_OSXSAVE,
    EFER_LMA,
    EFER_SCE,
    IA32_EFER,
    IA32_KERNEL_GS_BASE,
    DescriptorTable,
    Segment,
)

CR0_PE, CR0_PG = 1 << 0, 1 << 31
_EFER_SVME = 1 << 12
_CONTROL = ("cr0", "cr3", "cr4")
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs", "ldtr", "tr")


def _flat_code() -> Segment:
    return Segment(0x10, 0, 0xFFFF_FFFF, 0xA09B)


def _flat_data() -> Segment:
    return Segment(0x18, 0, 0xFFFF_FFFF, 0xC093)


@dataclass(slots=True)
class WorldState:
    """Control registers, segments and tables; by default a flat 64-bit supervisor.

    Segments carry access rights in VMX format (SDM 3, "Guest Register State"); the privilege level
    is the DPL of SS. `efer` has LMA set exactly in long mode.
    """

    cr3: int = 0
    cr0: int = 0x8005_0033
    cr4: int = 0x6F8
    efer: int = 0xD01
    cs: Segment = field(default_factory=_flat_code)
    ss: Segment = field(default_factory=_flat_data)
    ds: Segment = field(default_factory=_flat_data)
    es: Segment = field(default_factory=_flat_data)
    fs: Segment = field(default_factory=_flat_data)
    gs: Segment = field(default_factory=_flat_data)
    ldtr: Segment = field(default_factory=Segment)
    tr: Segment = field(default_factory=lambda: Segment(0x40, 0, 0x67, 0x8B))
    gdtr: DescriptorTable = field(default_factory=DescriptorTable)
    idtr: DescriptorTable = field(default_factory=DescriptorTable)
    kernel_gs_base: int = 0

    @classmethod
    def of(cls, processor: Any) -> WorldState:
        """The state of an `ntsim.hw.cpu.Processor`."""
        return cls(
            **{name: getattr(processor, name) for name in (*_CONTROL, *_SEGMENTS)},
            gdtr=processor.gdtr,
            idtr=processor.idtr,
            efer=processor.msrs[IA32_EFER],
            kernel_gs_base=processor.msrs[IA32_KERNEL_GS_BASE],
        )

    def into(self, processor: Any) -> None:
        """Make it the state of an `ntsim.hw.cpu.Processor`, without checks."""
        for name in _CONTROL:
            setattr(processor, name, getattr(self, name))
        for name in _SEGMENTS:
            segment = getattr(self, name)
            getattr(processor, name).set(
                segment.selector, segment.base, segment.limit, segment.access_rights
            )
        for table, own in ((processor.gdtr, self.gdtr), (processor.idtr, self.idtr)):
            table.base, table.limit = own.base, own.limit
        processor.cpl = self.ss.access_rights >> 5 & 3
        processor.msrs[IA32_EFER] = self.efer
        processor.msrs[IA32_KERNEL_GS_BASE] = self.kernel_gs_base

    @property
    def engine_cr4(self) -> int:
        """CR4 as the engine runs it: without OSXSAVE, XGETBV and XSETBV are #UD and so reported."""
        return self.cr4 & ~CR4_OSXSAVE

    @property
    def engine_efer(self) -> int:
        """EFER as the engine runs it: SYSRET and AMD's SVM instructions are #UD and so reported."""
        return self.efer & ~(EFER_SCE | _EFER_SVME)

    @property
    def long_mode(self) -> bool:
        return bool(self.efer & EFER_LMA and self.cr0 & CR0_PG)
