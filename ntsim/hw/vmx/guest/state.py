"""A guest being run: the engine's view of it, kept in step with the processor's registers.

While a guest runs, general registers, RIP and RFLAGS are in `words`, the engine's registers, whose
beginning is `VmxState.gpr`; segments, descriptor tables and the FS and GS bases are in the engine's
world, where the guest loads them unseen; everything else is in the processor.
`store` brings all of it back into the processor, `load` the other way. An instruction emulated in
Python that changes what the world holds does so between the two.

The world stays in the engine from one run to the next, whatever the host does in between: `load`
compares the little that it is made of with what it was last made of.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.cpu import SEGMENT_NAMES
from ntsim.hw.engine import Engine, Exit, Intercept, ResidentRegisters, World, WorldState
from ntsim.hw.vmx.exits import GuestExit
from ntsim.hw.vmx.guest.controls import NO_CONTROLS, Controls, controls_of
from ntsim.hw.vmx.guest.ept import Ept
from ntsim.hw.vmx.guest.fetches import may_fetch
from ntsim.hw.vmx.guest.hidden import HiddenState
from ntsim.hw.vmx.guest.memory import GuestMemory
from ntsim.hw.vmx.guest.modification_log import PageModificationLog
from ntsim.hw.vmx.guest.nested import NestedTables
from ntsim.hw.vmx.transition import load_guest

if TYPE_CHECKING:
    from ntsim.hw.vmx.protocols import VmxProcessor
    from ntsim.hw.vmx.state import VmxState
    from ntsim.hw.vmx.vmcs import Vmcs

RSP, RFLAGS, RIP, CS, SS = 4, 16, 17, 18, 19  # places in the engine's register file
_BLOCKING = abi.BLOCKING_BY_STI | abi.BLOCKING_BY_MOV_SS
_STI = b"\xfb"
_ENABLED_BREAKPOINTS = 0xFF  # L0 to G3 of DR7
_VPID = abi.SECONDARY_ENABLE_VPID


class Guest:
    """The guest of one processor; made once and used for every VM entry there.

    The first `load` makes its `world` in the engine. While it is `unseen`, the processor holds the
    host's state still, and `unseen_processor` is for what is not part of either; `warm`, `efer` and
    `host_found` are what the last exit left for the next entry, `left` what it was: see
    `unseen.py`. `hidden` is what the guest changes without stopping the engine. `borrowed` are
    guest-physical pages that are mapped for the next instruction alone, and whether cached
    translations have to go with them, `code_pages` those that code was fetched from; `careful` runs
    have one instruction, and with `asks_each` all do: see `nested_faults.py` and `fetches.py`.
    `armed`: a breakpoint of the debug registers is; `met` are those on what the next instruction
    accesses: see `breakpoints.py`.
    """

    world: World

    def __init__(self, vmx: VmxState, engine: Engine) -> None:
        self.vmx, self.engine = vmx, engine
        self.unseen_processor = vmx.processor
        self.unseen = False
        self.left = GuestExit(0, 0, 0)
        self.warm: Vmcs | None = None
        self.efer = 0
        self.host_found: tuple[int, ...] = ()
        self.physical_memory = vmx.processor.memory
        self.registers = ResidentRegisters(vmx.registers)
        self.words = self.registers.words
        self._segments: bytes | bytearray | None = None
        self._rest: tuple[object, ...] = ()
        self.hidden: HiddenState
        self._code = engine.seen_code
        self.controls = NO_CONTROLS
        self.intercepts = NO_CONTROLS.intercepts
        self.pin = self.primary = self.secondary = 0
        self._memory = GuestMemory(vmx.processor, vmx.capabilities, None)
        self.ept: Ept | None = None
        self.nested: NestedTables | None = None
        self.borrowed: dict[int, bool] = {}
        self.careful = self.asks_each = self.steps_far = False
        self.code_pages: set[int] = set()
        self.armed = False
        self.met = 0

    def borrow(self, address: int, *, flush: bool) -> None:
        """A page is mapped for the next instruction alone."""
        self.borrowed[address] = flush
        self.careful = True

    @property
    def processor(self) -> VmxProcessor:
        """The processor, with the guest's state loaded."""
        if self.unseen:
            self._show()
        return self.unseen_processor

    @property
    def memory(self) -> GuestMemory:
        """The guest's linear memory, as its state now translates it."""
        if self.unseen:
            self._show()
        return self._memory

    def _show(self) -> None:
        """Somebody looks: load what `unseen.enter` has left in the VMCS."""
        self.unseen, self.warm = False, None
        assert self.vmx.current is not None
        load_guest(self.unseen_processor, self.vmx.current)

    def get(self, encoding: int) -> int:
        """A field of the guest's VMCS."""
        assert self.vmx.current is not None
        return self.vmx.current.get(encoding)

    def begin(self) -> None:
        """Take controls and state over, before a run."""
        vmx = self.vmx
        assert vmx.current is not None
        controls = vmx.current.controls
        if controls is not self.controls or controls is None:
            self._take_controls(controls_of(vmx.current))
        if vmx.translations_invalid:
            self._forget_translations()
            vmx.translations_invalid = False
        if vmx.entered:
            self._after_entry()
        if self.unseen:
            return  # nothing is blocked, and the world is as it has to be
        self.warm = None
        self.intercepts = self.controls.intercepts
        if vmx.interruptibility & abi.BLOCKING_BY_NMI:
            self.watch_iret()
        self.load()
        blocked = bool(vmx.interruptibility & _BLOCKING)
        if blocked != self.hidden.interrupt_shadow:
            self.hidden.interrupt_shadow = blocked

    def _take_controls(self, controls: Controls) -> None:
        self.controls = controls
        self.pin, self.primary, self.secondary = controls.pin, controls.primary, controls.secondary
        self.intercepts = controls.intercepts
        if controls.eptp != (self.ept.pointer if self.ept else None):
            self._set_up_ept(controls.eptp)
        if self.ept is not None:
            logs = controls.secondary & abi.SECONDARY_ENABLE_PML
            self.ept.log = PageModificationLog(self.vmx) if logs else None

    def _after_entry(self) -> None:
        """Page tables and code may have changed while the host ran.

        Without VPIDs a VM entry forgets linear translations (SDM 3, "Operations That Invalidate
        Cached Mappings"). Code is never stale on silicon; the engine keeps what it translated, so
        the pages in which the guest was seen are compared with what they held.
        """
        self.vmx.entered = False
        if self.armed or self.unseen_processor.dr[7] & _ENABLED_BREAKPOINTS:
            self.note_debug_registers()
        if not self.secondary & _VPID:
            self.engine.flush_linear()
        if self._code.changed() or self.vmx.launching:
            self.engine.invalidate_code()

    def note_debug_registers(self) -> None:
        """DR7 may have changed."""
        self.armed, self.met = bool(self.unseen_processor.dr[7] & _ENABLED_BREAKPOINTS), 0

    def watch_iret(self) -> None:
        """NMIs are blocked until the guest executes IRET, unless that is left to the host (SDM 3,
        "Changes to Instruction Behavior in VMX Non-Root Operation", IRET)."""
        exits = self.pin & abi.PIN_BASED_NMI_EXITING
        if not exits or self.pin & abi.PIN_BASED_VIRTUAL_NMIS:
            self.intercepts |= Intercept.IRET

    def take_new_controls(self) -> None:
        """The processor itself has changed a control field."""
        assert self.vmx.current is not None
        self._take_controls(controls_of(self.vmx.current))
        self.load()

    def _set_up_ept(self, pointer: int | None) -> None:
        memory, capabilities = self.physical_memory, self.vmx.capabilities
        self.ept = None if pointer is None else Ept(pointer, capabilities, memory)
        self._memory = GuestMemory(self.unseen_processor, capabilities, self.ept)
        if self.ept is not None and self.nested is None:
            new_frame = self.vmx.new_frame
            assert new_frame is not None, "EPT needs page frames for nested tables: set new_frame"
            self.nested = NestedTables(memory, new_frame)
        self._forget_translations()

    def _forget_translations(self) -> None:
        if self.nested is not None:
            self.nested.clear()
            self.borrowed.clear()
            self.asks_each, self.careful = False, self.steps_far
        self.engine.flush_tlb()

    def load(self) -> None:
        """The engine's view from the processor's registers."""
        p, words = self.processor, self.words
        words[RSP], words[RIP], words[RFLAGS] = p.rsp, p.rip, p.rflags
        rest = (
            p.cr0, p.cr3, p.cr4, p.efer, p.msrs[abi.IA32_KERNEL_GS_BASE],
            self.intercepts, self.ept,
        )  # fmt: skip
        if p.segments != self._segments or rest != self._rest:
            self._load_world()
            self._segments, self._rest = bytes(p.segments), rest

    def holds(self, vmcs: Vmcs, cr0: int, efer: int) -> bool:
        """Whether the world is as `load` would make it after a VM entry that loads `vmcs`."""
        values, msrs = vmcs.values, self.unseen_processor.msrs
        rest = (
            cr0, values[abi.GUEST_CR3], values[abi.GUEST_CR4], efer, msrs[abi.IA32_KERNEL_GS_BASE],
            self.intercepts, self.ept,
        )  # fmt: skip
        return vmcs.segments == self._segments and rest == self._rest

    def _load_world(self) -> None:
        p, root = self.processor, self._nested_root()
        state = WorldState.of(p)
        if self._segments is None:
            self.world = self.engine.world(state, root, self.intercepts)
            self.hidden = HiddenState(self.world)
        else:
            self.world.load(state, root, self.intercepts)
        self.watch_fetches()
        self.world.on_code = self._code.block
        self.hidden.remember()
        self.words[CS], self.words[SS] = p.cs.selector, p.ss.selector

    def watch_fetches(self) -> None:
        """With EPT its execute rights are asked about; protected mode of 16 and 32 bits may switch
        tasks."""
        world, p = self.world, self.processor
        world.may_fetch = None if self.ept is None else partial(may_fetch, self)
        world.stops_far = bool(p.cr0 & abi.CR0_PE) and not p.efer & abi.EFER_LMA
        self.steps_far = world.stops_far and not self.engine.by_block
        self.careful = bool(self.borrowed) or self.asks_each or self.steps_far

    def _nested_root(self) -> int | None:
        return self.nested.root if self.ept is not None and self.nested is not None else None

    def store(self) -> None:
        """The processor's registers from the engine's view."""
        p, words = self.processor, self.words
        self.note_code()
        p.rsp, p.rip, p.rflags = words[RSP], words[RIP], words[RFLAGS]
        if self.hidden.changed():
            self._store_world()

    def note_code(self) -> None:
        """Remember the page that the guest is in."""
        words, view = self.words, self.world.view
        self._code.saw(view.frame(view.code_address(words[RIP], words[CS]) >> 12))

    def _store_world(self) -> None:
        """The guest has loaded segments or descriptor tables itself."""
        p, state = self.processor, self.world.state()
        for name in SEGMENT_NAMES:
            ours, theirs = getattr(p, name), getattr(state, name)
            ours.set(theirs.selector, theirs.base, theirs.limit, theirs.access_rights)
        p.gdtr.base, p.gdtr.limit = state.gdtr.base, state.gdtr.limit
        p.idtr.base, p.idtr.limit = state.idtr.base, state.idtr.limit
        p.write_msr(abi.IA32_KERNEL_GS_BASE, state.kernel_gs_base)
        p.cpl = p.ss.access_rights >> 5 & 3 if p.cr0 & abi.CR0_PE else 0
        self._segments = bytes(p.segments)
        self._rest = (*self._rest[:4], state.kernel_gs_base, *self._rest[5:])
        self.hidden.remember()

    def note_interrupt_shadow(self) -> None:
        """Blocking by STI or MOV SS at the boundary where the engine stopped."""
        vmx = self.vmx
        noted = vmx.interruptibility & _BLOCKING
        if not self.hidden.interrupt_shadow:
            vmx.interruptibility -= noted
        elif not noted or vmx.retired:  # else it is the one that the run began with
            vmx.interruptibility = vmx.interruptibility - noted | self._kind_of_shadow()

    def _kind_of_shadow(self) -> int:
        """By the last byte of the instruction before RIP."""
        view, registers = self.world.view, self.registers
        before = view.read(view.code_address(registers.rip - 1, registers.cs), 1)
        return abi.BLOCKING_BY_STI if before == _STI else abi.BLOCKING_BY_MOV_SS

    def end_interrupt_shadow(self) -> None:
        """An instruction has been executed outside the engine, or an event delivered."""
        self.vmx.interruptibility &= ~_BLOCKING
        self.hidden.interrupt_shadow = False

    def retire(self, instructions: int) -> None:
        """Count executed instructions, and let their time pass."""
        self.vmx.retired += instructions
        self.unseen_processor.budget -= instructions

    def skip(self, exit_: Exit) -> None:
        """Go on behind the instruction, which Python has executed."""
        length = exit_.instruction_length
        self.registers.rip = exit_.rip + length & self.operand_mask

    def refresh_code_segment(self) -> None:
        """The guest may have gone to another code segment unseen; its selector tells."""
        if self.registers.cs != self.processor.cs.selector:
            self._store_world()

    @property
    def is_64_bit(self) -> bool:
        """64-bit code is running."""
        return self.world.view.mode(self.registers.cs) == 64

    @property
    def cpl(self) -> int:
        """Current privilege level, from the selector that the engine last saw."""
        if not self.processor.cr0 & abi.CR0_PE:
            return 0
        return 3 if self.registers.rflags & abi.RFLAGS_VM else self.registers.ss & 3

    @property
    def operand_mask(self) -> int:
        """MOV to and from control and debug registers: 64 bits in 64-bit code, else 32."""
        return 0xFFFF_FFFF_FFFF_FFFF if self.is_64_bit else 0xFFFF_FFFF

    def set_32(self, register: int, value: int) -> None:
        """Write a 32-bit register: the upper half of the 64-bit one becomes 0."""
        self.words[register] = value & 0xFFFF_FFFF
