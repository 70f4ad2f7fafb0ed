"""A guest being run: the engine's view of it, kept in step with the processor's registers.

While a guest runs, general registers, RIP and RFLAGS are in `words` (the engine's register file);
segments, descriptor tables and the FS and GS bases are in the engine's world, where the guest loads
them unseen; everything else is in the processor. `store` brings all of it back into the processor,
`load` the other way. An instruction emulated in Python that changes what the world holds does so
between a `take` and a `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.engine import Engine, Exit, Intercept, RegisterFile, World, WorldState
from ntsim.hw.vmx.guest.code import SeenCode
from ntsim.hw.vmx.guest.ept import Ept
from ntsim.hw.vmx.guest.hidden import HiddenState
from ntsim.hw.vmx.guest.memory import GuestMemory
from ntsim.hw.vmx.guest.nested import NestedTables
from ntsim.hw.vmx.transition import SegmentState, segment_state

if TYPE_CHECKING:
    from ntsim.hw.vmx.state import VmxState

RSP, RFLAGS, RIP, CS, SS = 4, 16, 17, 18, 19  # places in the engine's register file
_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
_BLOCKING = abi.BLOCKING_BY_STI | abi.BLOCKING_BY_MOV_SS
_STI_OPCODE = 0xFB


class Guest:
    """The guest of one processor; made once and used for every VM entry there."""

    def __init__(self, vmx: VmxState, engine: Engine) -> None:
        self.vmx, self.engine = vmx, engine
        self.processor = vmx.processor
        self.registers = RegisterFile()
        self.words = self.registers.words
        self._world: World | None = None
        self._segments: SegmentState | None = None
        self._rest: tuple[object, ...] = ()
        self._hidden: HiddenState
        if vmx.directory.seen_code is None:
            vmx.directory.seen_code = SeenCode(vmx.processor.memory)
        self._code = vmx.directory.seen_code
        self.pin = self.primary = self.secondary = 0
        self.memory = GuestMemory(self.processor, vmx.capabilities, None)
        self.ept: Ept | None = None
        self.nested: NestedTables | None = None

    @property
    def world(self) -> World:
        """The engine's world, after the first `load`."""
        assert self._world is not None
        return self._world

    def get(self, encoding: int) -> int:
        """A field of the guest's VMCS."""
        assert self.vmx.current is not None
        return self.vmx.current.get(encoding)

    def begin(self) -> None:
        """Take controls and state over, before a run."""
        self.pin = self.get(abi.PIN_BASED_VM_EXEC_CONTROL)
        self.primary = self.get(abi.CPU_BASED_VM_EXEC_CONTROL)
        activated = self.primary & abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
        self.secondary = self.get(abi.SECONDARY_VM_EXEC_CONTROL) if activated else 0
        self._set_up_ept()
        if self.vmx.translations_invalid:
            self._forget_translations()
            self.vmx.translations_invalid = False
        if self.vmx.entered:
            self.vmx.entered = False
            self._after_entry()
        self.load()

    def _after_entry(self) -> None:
        """Page tables and code may have changed while the host ran.

        Without VPIDs a VM entry forgets linear translations (SDM 3, "Operations That Invalidate
        Cached Mappings"). Code is never stale on silicon; the engine keeps what it translated, so
        the pages in which the guest was seen are compared with what they held.
        """
        if not self.secondary & abi.SECONDARY_ENABLE_VPID:
            self.engine.flush_tlb()
        if self._code.changed() or self.vmx.launching:
            self.engine.invalidate_code()

    def _set_up_ept(self) -> None:
        pointer = self.get(abi.EPT_POINTER) if self.secondary & abi.SECONDARY_ENABLE_EPT else None
        if pointer == (self.ept.pointer if self.ept else None):
            return
        memory, capabilities = self.processor.memory, self.vmx.capabilities
        self.ept = None if pointer is None else Ept(pointer, capabilities, memory)
        self.memory = GuestMemory(self.processor, capabilities, self.ept)
        if self.ept is not None and self.nested is None:
            new_frame = self.vmx.new_frame
            assert new_frame is not None, "EPT needs page frames for nested tables: set new_frame"
            self.nested = NestedTables(memory, new_frame)
        self._forget_translations()

    def _forget_translations(self) -> None:
        if self.nested is not None:
            self.nested.clear()
        self.engine.flush_tlb()

    def load(self) -> None:
        """The engine's view from the processor's registers."""
        p, vmx, words = self.processor, self.vmx, self.words
        words[0:16] = [*vmx.gpr]
        words[RSP], words[RIP], words[RFLAGS] = p.rsp, p.rip, p.rflags
        words[CS], words[SS] = p.cs.selector, p.ss.selector
        rest = (
            p.cr0, p.cr3, p.cr4, p.efer, p.read_msr(abi.IA32_KERNEL_GS_BASE),
            self.primary, self.secondary, self.ept,
        )  # fmt: skip
        if vmx.segments is None or vmx.segments != self._segments or rest != self._rest:
            self._load_world()
            self._segments, self._rest = segment_state(p), rest

    def _load_world(self) -> None:
        state = WorldState.of(self.processor)
        intercepts = self._intercepts()
        if self._world is None or self._world.intercepts != intercepts:
            self._world = self.engine.world(state, self._nested_root(), intercepts)
            self._hidden = HiddenState(self._world)
        else:
            self._world.load(state, self._nested_root())
        self._hidden.remember()

    def _nested_root(self) -> int | None:
        return self.nested.root if self.ept is not None and self.nested is not None else None

    def _intercepts(self) -> Intercept:
        """What need not stop the engine executes there."""
        found = Intercept.CACHE | Intercept.PAUSE
        if self.primary & abi.CPU_BASED_INVLPG_EXITING:
            found |= Intercept.INVLPG
        if self.secondary & abi.SECONDARY_DESCRIPTOR_TABLE_EXITING:
            found |= Intercept.TABLE_READS | Intercept.TABLE_WRITES
        return found

    def store(self) -> None:
        """The processor's registers from the engine's view."""
        p, words = self.processor, self.words
        self._code.saw(self.world, words[RIP], self.registers.cs)
        self.vmx.gpr[:] = words[0:16]
        p.rsp, p.rip, p.rflags = words[RSP], words[RIP], words[RFLAGS]
        if self._hidden.changed():
            self._store_world()

    def _store_world(self) -> None:
        """The guest has loaded segments or descriptor tables itself."""
        p, state = self.processor, self.world.state()
        for name in _SEGMENTS:
            ours, theirs = getattr(p, name), getattr(state, name)
            ours.set(theirs.selector, theirs.base, theirs.limit, theirs.access_rights)
        p.gdtr.base, p.gdtr.limit = state.gdtr.base, state.gdtr.limit
        p.idtr.base, p.idtr.limit = state.idtr.base, state.idtr.limit
        p.write_msr(abi.IA32_KERNEL_GS_BASE, state.kernel_gs_base)
        p.cpl = p.ss.access_rights >> 5 & 3 if p.cr0 & abi.CR0_PE else 0
        self.vmx.segments = None
        self._segments = segment_state(p)
        self._rest = (*self._rest[:4], state.kernel_gs_base, *self._rest[5:])
        self._hidden.remember()

    def take(self) -> None:
        """`store`, in order to change what the engine's world holds; `load` puts it back."""
        self.store()
        self.vmx.segments = None

    def note_interrupt_shadow(self) -> None:
        """Blocking by STI or MOV SS at the boundary where the engine stopped."""
        found = self.vmx.interruptibility & ~_BLOCKING
        if self._hidden.interrupt_shadow():
            view, registers = self.world.view, self.registers
            before = view.read(view.code_address(registers.rip - 1, registers.cs), 1)
            sti = before == bytes([_STI_OPCODE])
            found |= abi.BLOCKING_BY_STI if sti else abi.BLOCKING_BY_MOV_SS
        self.vmx.interruptibility = found

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
