"""A world: one processor context that the engine can run.

What a thread does not carry with it stays here: control registers, segments, descriptor tables, the
nested page table. A logical processor is a world; the guest of a VT-x processor is another.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Iterable
from enum import IntFlag
from typing import TYPE_CHECKING, Any

from ntsim.hw.cpu import DescriptorTable, Segment
from ntsim.hw.engine import hostcode, svm
from ntsim.hw.engine.layout import INHIBIT_INTERRUPTS, SEGMENTS, SavedProcessor
from ntsim.hw.engine.registers import FloatingState
from ntsim.hw.engine.state import WorldState
from ntsim.hw.engine.view import View
from ntsim.hw.ram import PAGE_SIZE

if TYPE_CHECKING:
    from ntsim.hw.engine.core import Engine
    from ntsim.hw.engine.native import Native


class Intercept(IntFlag):
    """Instructions that may also execute by themselves. All others always stop the engine."""

    PAUSE = 1 << svm.PAUSE - 0x60
    INVLPG = 1 << svm.INVLPG - 0x60
    CACHE = 1 << svm.WBINVD - 0x60 | 1 << svm.INVD - 0x60
    TABLE_READS = 0xF << svm.IDTR_READ - 0x60  # SGDT, SIDT, SLDT, STR
    TABLE_WRITES = 0xF << svm.IDTR_WRITE - 0x60  # LGDT, LIDT, LLDT, LTR
    PUSHF = 1 << svm.PUSHF - 0x60
    POPF = 1 << svm.POPF - 0x60
    IRET = 1 << svm.IRET - 0x60
    DEFAULT = PAUSE | INVLPG | CACHE | TABLE_READS | TABLE_WRITES


def _bits(codes: Iterable[int]) -> int:
    return sum(1 << code - 0x60 for code in codes)


# HLT is not among them: executing it ends a run as well, and without a callback.
_ALWAYS = _bits(set(range(0x60, 0x8C)) - {svm.CR0_SELECTIVE_WRITE, svm.HLT, svm.IOIO}) & ~(
    Intercept.DEFAULT | Intercept.PUSHF | Intercept.POPF | Intercept.IRET
)


class World:
    """Made by `Engine.world`.

    `cr3`, which reads faster as `root`, and the bases below can be assigned, other state changes by
    `load`. `nested_root` is the
    physical address of a four-level nested page table (AMD format: present, write, user, NX; user
    must be set), or None. `on_code` is called with the view, the address and the size of every
    block of code that is new, at the end of the run at the latest. Where blocks are counted,
    `may_fetch` is called with address and size before any of it runs: the
    guest-physical address of a page that it may not be fetched from ends the run as a nested fault.
    `stops_far` ends it there before what may switch tasks.
    """

    __slots__ = (
        "__weakref__",
        "_engine",
        "blocks",
        "cr0",
        "cr4",
        "efer",
        "intercepts",
        "may_fetch",
        "native",
        "nested_root",
        "on_code",
        "root",
        "slot",
        "stops_far",
        "translation",
        "view",
    )

    def __init__(
        self,
        engine: Engine,
        native: Native,
        state: WorldState,
        nested_root: int | None,
        intercepts: Intercept,
    ) -> None:
        self._engine, self.native = engine, native
        self.slot = native.take_slot()
        weakref.finalize(self, native.give_back_slot, self.slot)
        self.slot.msr_map[:] = b"\xff" * len(self.slot.msr_map)
        self.intercepts = intercepts
        self.on_code: Callable[[View, int, int], None] | None = None
        self.may_fetch: Callable[[int, int], int | None] | None = None
        self.stops_far = False
        self.view = View(native, self.slot, engine.ram, engine.tables)
        self._become(state, nested_root)

    def load(
        self,
        state: WorldState,
        nested_root: int | None = None,
        intercepts: Intercept | None = None,
    ) -> None:
        """Take over a whole new state (25 us); vector and x87 registers stay as they are.

        `intercepts` stay too if not given.
        """
        if intercepts is not None:
            self.intercepts = intercepts
        native = self.native
        assert native.ram is self._engine.ram, "the engine of this world is closed"
        if native.current is not self.slot:
            native.leave()
            native.restore(self.slot)
        floating = FloatingState(native)
        self._become(state, nested_root)
        native.restore(self.slot)
        floating.put_back(native)
        native.leave()

    def _become(self, state: WorldState, nested_root: int | None) -> None:
        """A state, by VMRUN; vector and x87 registers are as after FNINIT."""
        self.nested_root = nested_root
        self.cr0, self.cr4, self.efer = state.cr0, state.cr4, state.efer
        self.root = state.cr3
        assert self.native.ram is self._engine.ram, "the engine of this world is closed"
        self._write_block(state)
        self.native.leave()
        self.native.vmrun(self.slot.block)
        self.native.save(self.slot)
        self._new_translation()

    def _write_block(self, state: WorldState) -> None:
        host = self.slot.host
        host[:] = bytes(PAGE_SIZE)
        everything = 0xFFFF
        struct.pack_into(
            "<HHHHIQ",
            host,
            svm.INTERCEPTS,
            *[everything] * 4,
            0xFFFF_FFFF,
            _ALWAYS | self.intercepts,
        )
        struct.pack_into("<IB", host, svm.ASID, 1, 1)
        struct.pack_into("<II", host, svm.EVENT_INJECTION, svm.INJECT_NMI, 0)
        for name, offset in svm.SEGMENTS.items():
            _put(host, offset, getattr(state, name))
        if state.long_mode and state.cs.access_rights & 1 << 13:
            struct.pack_into("<Q", host, svm.SEGMENTS["cs"] + 8, 0)  # 64-bit code has base 0
        _put(host, svm.LDTR, state.ldtr)
        _put(host, svm.TR, state.tr)
        for offset, table in ((svm.GDTR, state.gdtr), (svm.IDTR, state.idtr)):
            host[offset : offset + 16] = svm.pack_segment(0, 0, table.limit, table.base)
        words: dict[int, int] = {
            svm.MSRPM_BASE: self.slot.block + PAGE_SIZE,
            svm.CR0: state.cr0,
            svm.CR3: state.cr3,
            svm.CR4: state.engine_cr4,
            svm.EFER: state.engine_efer,
            svm.RFLAGS: 2,
            svm.DR6: 0xFFFF_0FF0,
            svm.DR7: 0x400,
            svm.KERNEL_GS_BASE: state.kernel_gs_base,
            svm.NESTED_CONTROL: self.nested_root is not None,
            svm.NESTED_CR3: self.nested_root or 0,
        }
        for offset, value in words.items():
            self.slot.words[offset >> 3] = value & 0xFFFF_FFFF_FFFF_FFFF

    def _new_translation(self) -> None:
        """After a change of anything that address translation depends on."""
        self.translation = (self.cr0, self.root, self.cr4, self.efer, self.nested_root)
        self.view.translation_changed(self.translation)
        if self.native.by_block:
            self.blocks = self._engine.blocks.of(self.translation)
            self.slot.trip[hostcode.BLOCKS] = self.blocks.address

    def set_control(
        self, *, cr0: int | None = None, cr4: int | None = None, efer: int | None = None
    ) -> None:
        """What MOV CR0, MOV CR4 and WRMSR of IA32_EFER do; `efer` with the right LMA."""
        state = self.state()
        state.cr0 = state.cr0 if cr0 is None else cr0
        state.cr4 = state.cr4 if cr4 is None else cr4
        state.efer = state.efer if efer is None else efer
        self.load(state, self.nested_root)

    @property
    def cr3(self) -> int:
        return self.root

    @cr3.setter
    def cr3(self, value: int) -> None:
        self.root = value
        self._patch().fields.cr[3] = value
        self._new_translation()

    def _patch(self) -> SavedProcessor:
        """The world's processor for writing: the next run loads it."""
        if self.native.current is self.slot:
            self.native.leave()
        return self.slot.processor

    def state(self) -> WorldState:
        """The state as it is now, whatever the code has loaded itself."""
        fields = self.native.processor(self.slot).fields
        segments = dict(zip(SEGMENTS, map(_segment, fields.segments), strict=True))
        return WorldState(
            cr0=self.cr0,
            cr3=self.root,
            cr4=self.cr4,
            efer=self.efer,
            **segments,
            ldtr=_segment(fields.ldtr),
            tr=_segment(fields.tr),
            gdtr=DescriptorTable(fields.gdtr.base, fields.gdtr.limit),
            idtr=DescriptorTable(fields.idtr.base, fields.idtr.limit),
            kernel_gs_base=self.slot.processor.kernel_gs_base.value,
        )

    def set_gdtr(self, base: int, limit: int) -> None:
        """What LGDT does."""
        table = self._patch().fields.gdtr
        table.base, table.limit = base, limit

    def set_idtr(self, base: int, limit: int) -> None:
        """What LIDT does."""
        table = self._patch().fields.idtr
        table.base, table.limit = base, limit

    @property
    def fs_base(self) -> int:
        return int(self.native.processor(self.slot).fields.segments[4].base)

    @fs_base.setter
    def fs_base(self, value: int) -> None:
        self._patch().fields.segments[4].base = value

    @property
    def gs_base(self) -> int:
        return int(self.native.processor(self.slot).fields.segments[5].base)

    @gs_base.setter
    def gs_base(self, value: int) -> None:
        self._patch().fields.segments[5].base = value

    @property
    def kernel_gs_base(self) -> int:
        """IA32_KERNEL_GS_BASE, which SWAPGS exchanges with the base of GS unseen."""
        return self.native.processor(self.slot).kernel_gs_base.value

    @kernel_gs_base.setter
    def kernel_gs_base(self, value: int) -> None:
        self._patch().kernel_gs_base.value = value

    @property
    def interrupt_shadow(self) -> bool:
        """Whether the last instruction (STI, MOV SS, POP SS) holds interrupts off for one more."""
        return bool(self.native.processor(self.slot).fields.hflags & INHIBIT_INTERRUPTS)

    @property
    def fault_address(self) -> int:
        """The address of the last page fault or nested fault."""
        return self.slot.words[svm.EXIT_INFO_2 >> 3]

    @property
    def error_code(self) -> int:
        """The error code of the last exception or nested fault."""
        return self.native.processor(self.slot).error_code.value

    def pass_msr(self, index: int, read: bool = True, write: bool = True) -> None:
        """Let RDMSR or WRMSR of `index` execute in the engine's own register.

        For registers that live in the world (IA32_FS_BASE, IA32_GS_BASE, IA32_KERNEL_GS_BASE): what
        the engine has under other numbers is not what the machine models.
        """
        bit = svm.msr_bit(index)
        assert bit is not None, f"MSR {index:#x} always exits"
        for place, let in ((bit, read), (bit + 1, write)):
            byte, mask = place >> 3, 1 << (place & 7)
            held = self.slot.msr_map[byte]
            self.slot.msr_map[byte] = held & ~mask if let else held | mask


def _put(host: memoryview, offset: int, segment: Segment) -> None:
    host[offset : offset + 16] = svm.pack_segment(
        segment.selector, segment.access_rights, segment.limit, segment.base
    )


def _segment(cache: Any) -> Segment:
    return Segment(cache.selector, cache.base, cache.limit, svm.rights_of(cache.flags))
