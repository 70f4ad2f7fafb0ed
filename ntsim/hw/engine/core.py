"""The engine: runs worlds and reports why they stopped."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from ntsim.hw.engine import hostcode as h
from ntsim.hw.engine import native as n
from ntsim.hw.engine import svm
from ntsim.hw.engine import unicorn_c as c
from ntsim.hw.engine.blocks import Blocks, decoded
from ntsim.hw.engine.exits import KIND_OF_CODE, Exit, ExitKind
from ntsim.hw.engine.lengths import is_far, is_vex
from ntsim.hw.engine.registers import CS, RFLAGS, RIP, RSP, RegisterFile, Registers
from ntsim.hw.engine.seen_code import SeenCode
from ntsim.hw.engine.state import WorldState
from ntsim.hw.engine.world import Intercept, World
from ntsim.hw.ram import PAGE_SIZE, Ram

_TRAP_FLAG, _DEBUG = 1 << 8, 1
_TRAP_EXIT = n.SVM_EXIT + svm.EXCEPTION + _DEBUG
_NESTED_EXIT = n.SVM_EXIT + svm.NESTED_PAGE_FAULT
_FAR_EXIT = n.SVM_EXIT + svm.TASK_SWITCH
_LONGEST_FAR = 6
"""Bytes of prefixes, opcode and ModRM, as they are used."""
_REFUSED_FETCH = 1 << 0 | 1 << 2 | 1 << 4
"""Error code of a nested fault: the page is present, the access a guest's, a fetch."""

_UNDEFINED_EXIT = n.SVM_EXIT + svm.EXCEPTION + 6
_LONGEST_VEX = 6
"""Bytes of segment and address-size prefixes and of a VEX prefix, as they are used."""

_ARITHMETIC_FLAGS = 0x8D5
_NO_ERROR = ~0
"""What a run returns that has ended for another reason than HLT or an error."""
_KIND_OF_EVENT = {
    **{n.SVM_EXIT + code: kind for code, kind in KIND_OF_CODE.items()},
    h.LIMIT_REACHED: ExitKind.QUANTUM_END,
}
"""Why a run has stopped, where the number of the event says all."""


@dataclass(slots=True)
class Check:
    """One behaviour of the library: what was expected, whether it is so, what was seen."""

    name: str
    ok: bool
    detail: str


def _checked(native: n.Native) -> n.Native:
    """A new instance after the self-test; EngineError if the library is not as ntsim needs it."""
    from ntsim.hw.engine.selftest import quick

    for check in quick(native):
        if not check.ok:
            version = ".".join(map(str, c.version()))
            raise c.EngineError(f"unicorn {version}: {check.name}: {check.detail}")
    native.unmap_ram()
    return native


def _new_exit(registers: Registers) -> Exit:
    exit_ = registers.exit = Exit(registers.words)
    return exit_


class Engine:
    """Executes code that lies in `ram`; loads the library at first use.

    Not told otherwise, the engine believes that page tables and code change only by its own hand:
    after writing either from Python, call `flush_tlb` or `write_code` / `invalidate_code`.
    """

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self._native: n.Native | None = None
        self._finalizer: Callable[[], object] = lambda: None
        self._tlb_of: object = None  # the translation that the TLB holds entries of
        self._flush_code = False
        self.tables = [0, 0]  # counts flushes, and those of `flush_tlb`: for who keeps translations
        self.blocks = Blocks()
        self.seen_code = SeenCode(ram, self.blocks)

    @classmethod
    def on(cls, native: n.Native, ram: Ram) -> Engine:
        """An engine on an instance that nobody else runs on."""
        engine = cls(ram)
        native.map_ram(ram)
        engine._native = native
        return engine

    @property
    def started(self) -> bool:
        return self._native is not None

    def start(self) -> n.Native:
        """Load the library, enter SVM mode and check what ntsim relies on (20 ms a process)."""
        if self._native is None:
            native = n.idle() or _checked(n.Native())
            native.map_ram(self.ram)
            finalizer = weakref.finalize(self, n.give_back, native)
            finalizer.atexit = False
            self._finalizer = finalizer
            self._native = native
        return self._native

    def close(self) -> None:
        """Give the library back for the next machine; this engine's worlds cannot run any more.

        The same happens when an engine is forgotten, only later if it is part of a cycle.
        """
        if self._native is not None:
            self._native = None
            self._finalizer()

    def world(
        self,
        state: WorldState,
        nested_root: int | None = None,
        intercepts: Intercept = Intercept.DEFAULT,
    ) -> World:
        """A new world in `state`."""
        return World(self, self.start(), state, nested_root, intercepts)

    def run(self, world: World, registers: Registers, steps: int) -> Exit:
        """Run `world` with `registers` until something stops it, for at most `steps` instructions.

        The registers are up to date afterwards; the world goes on from whatever they then hold.
        """
        retired = self.run_to_halt(world, registers, steps)
        if retired >= 0:
            return self.halted(world, registers, retired)
        exit_: Exit = registers.exit
        return exit_

    @staticmethod
    def halted(world: World, registers: Registers, retired: int) -> Exit:
        """The exit that `run_to_halt` did not make, of HLT."""
        exit_: Exit = registers.exit or _new_exit(registers)
        exit_.world, exit_._instruction, exit_.length = world, None, 0
        exit_.kind, exit_.retired, exit_.rip = ExitKind.HLT, retired, registers.fields.rip
        return exit_

    def run_to_halt(self, world: World, registers: Registers, steps: int) -> int:
        """As `run`. How many instructions were executed before HLT, -1 if something else has
        stopped the run: only then there is an exit, that of the registers."""
        native, slot = self._native, world.slot
        assert native is world.native and steps > 0, "another machine's world, or no steps"
        known, translation = self._tlb_of, world.translation
        flush = known is not translation and known != translation  # the TLB has no tags
        self._tlb_of = translation
        if self._flush_code:
            self._flush_code = False
            native.flush_code()
        event = native.event
        if not native.by_block:
            event[n.CODE] = 0
        native.running = registers, slot
        trip = native.batch_trip
        if native.current is slot and trip is not None and registers.__class__ is RegisterFile:
            # as RegisterFile.run() would do
            control = c.CTL_TLB_FLUSH if flush else 0
            halted = trip(slot.round_trip, registers.address, steps, control)
        else:
            halted = registers.run(native, slot, steps, flush)
        if halted >= 0:
            native.running = None
            return halted
        code = event[n.CODE]
        if code >= h.UNKNOWN_BLOCK:
            halted = self._go_on(world, registers)
            if halted >= 0:
                native.running = None
                return halted
            code = event[n.CODE]
        code = native.halfway if native.running is None else code
        native.running = None
        exit_: Exit | None = registers.exit
        if exit_ is None:
            exit_ = _new_exit(registers)
        exit_.world = world
        exit_.rip = registers.fields.rip
        exit_._instruction, exit_.length = None, 0
        if not native.by_block:
            exit_.retired = native.count() - 1
            if native.translations:
                self._tell(world, native.translations)
            if code:
                self._repair_flags(world, registers.words, code)
        else:
            cs = registers.fields.cs
            exit_.retired = self._counted(exit_, event, code, cs) if code else event[h.COUNTED] - 1
        kind = _KIND_OF_EVENT.get(code)
        if kind is not None:
            exit_.kind = kind
        elif code >= n.SVM_EXIT:
            self._classify(exit_, code)
            if exit_.read_ahead:
                self._approach(world, registers, steps)
        elif halted != _NO_ERROR:
            self._refused(~halted, exit_.rip)
        else:
            self._ran_out(exit_, steps)
        return -1

    def _go_on(self, world: World, registers: Registers) -> int:
        """The counting of blocks has stopped a run: end it there, or go on; as `Registers.run`."""
        native, slot = self._native, world.slot
        assert native is not None
        event, halted = native.event, _NO_ERROR
        while (code := event[n.CODE]) >= h.UNKNOWN_BLOCK:
            if code == h.LIMIT_REACHED:
                if event[h.COUNTED] == event[h.LIMIT]:
                    return halted
                halted = self._step_through(world, registers, event[n.PLACE], event[n.SIZE])
                continue
            if code == h.REWRITTEN or (code == h.NEW_BLOCK and event[n.WRITE] == 1):
                self._take_back(world, event)
            if code != h.REWRITTEN and not self._learn(world, registers):
                return halted
            event[n.CODE] = 0
            halted = registers.run(native, slot, 0, False)
        return halted

    @staticmethod
    def _take_back(world: World, event: memoryview) -> None:
        """If an instruction has changed the block that runs, which is to go on there: of the block
        only what is before it counts."""
        block, size = event[h.BLOCK], event[h.BLOCK_SIZE]
        inside = event[n.PLACE] - block
        if 0 <= inside < size - event[n.SIZE]:
            before, _ = world.blocks.instruction(block, size, inside)
            event[h.COUNTED] -= event[h.BLOCK_COUNT] - before
            event[h.BLOCK_SIZE] = 0

    def _learn(self, world: World, registers: Registers) -> bool:
        """A run has met a block that the table does not have; False if it may not be executed."""
        native = self._native
        assert native is not None
        event, view = native.event, world.view
        place, size, count = event[n.PLACE], event[n.SIZE], event[n.WRITE]
        if event[n.CODE] == h.UNKNOWN_BLOCK:
            size, count = native.translated(place)
        event[n.CODE] = 0
        found = decoded(view.read(place, size), count, view.mode(registers.words[CS]))
        self.blocks.note(place, size, (count,) if found is None else tuple(found[0]))
        world.blocks.learn(place, size, count, found, stops_far=world.stops_far)
        if world.on_code is not None:
            world.on_code(world.view, place, size)
        if world.may_fetch is None or (refused := world.may_fetch(place, size)) is None:
            return True
        event[n.CODE], event[h.BLOCK_SIZE] = _NESTED_EXIT, 0
        self._note_refusal(world, refused)
        return False

    @staticmethod
    def _tell(world: World, translations: list[tuple[int, int]]) -> None:
        """Blocks have been translated in a run that the library has counted."""
        if world.on_code is not None:
            for place, size in translations:
                if place < n.ARENA_BASE or place >= n.ARENA_BASE + n.ARENA_SIZE:
                    world.on_code(world.view, place, size)
        translations.clear()

    @staticmethod
    def _note_refusal(world: World, address: int) -> None:
        """What the library notes at a nested fault: here of a fetch that it would have made."""
        world.native.processor(world.slot).error_code.value = _REFUSED_FETCH
        world.slot.words[svm.EXIT_INFO_2 >> 3] = address

    def refuse_fetch(self, world: World, registers: Registers, address: int) -> Exit:
        """The exit that fetching the next instruction is, at guest-physical `address`."""
        found = self.stop(world, registers, ExitKind.NESTED_FAULT)
        found.address, found.error_code = address, _REFUSED_FETCH
        self._note_refusal(world, address)
        return found

    @staticmethod
    def stop(world: World, registers: Registers, kind: ExitKind) -> Exit:
        """An exit before the next instruction, of which nothing has been executed."""
        found: Exit | None = registers.exit
        if found is None:
            found = _new_exit(registers)
        found.world, found.rip, found._instruction = world, registers.words[RIP], None
        found.retired, found.kind = 0, kind
        return found

    def refuse(self, places: list[int]) -> None:
        """Where code that is about to be executed has instructions that the library would execute
        otherwise than the processor: VEX encodings, if it counts instructions itself."""
        self.start().refuse(places)
        self._flush_code = True

    @property
    def by_block(self) -> bool:
        """Whether blocks are counted, so that `World.may_fetch` is asked."""
        return self._native is not None and self._native.by_block

    def _step_through(self, world: World, registers: Registers, place: int, size: int) -> int:
        """Single-step a block up to its end, the limit or an exit, looking at each instruction; as
        `Registers.run`."""
        native, words = self._native, registers.words
        assert native is not None
        event, halted = native.event, _NO_ERROR
        event[h.BLOCK_SIZE] = 0
        while event[h.COUNTED] < event[h.LIMIT]:
            if world.stops_far and self._at_far(world, words):
                event[n.CODE], event[h.BLOCK_SIZE] = _FAR_EXIT, 0
                event[h.COUNTED] += 1
                return _NO_ERROR
            if self._at_vex(world, words):
                event[n.CODE], event[h.BLOCK_SIZE] = _UNDEFINED_EXIT, 0
                event[h.COUNTED] += 1
                return _NO_ERROR
            rip, stack = words[RIP], words[RSP]
            words[RFLAGS] |= _TRAP_FLAG
            while True:
                event[n.CODE] = 0
                halted = registers.run(native, world.slot, 0, False)
                if event[n.CODE] < h.UNKNOWN_BLOCK or event[n.CODE] == h.LIMIT_REACHED:
                    break
                if not self._learn(world, registers):
                    break
            words[RFLAGS] &= ~_TRAP_FLAG
            if native.running is None or event[n.CODE] != _TRAP_EXIT:
                return halted
            if words[RSP] != stack:
                world.view.hide_trap_flag(rip, words)
            event[n.CODE] = 0
            if not place <= world.view.code_address(words[RIP], words[CS]) < place + size:
                return registers.run(native, world.slot, 0, False)
        event[n.CODE] = h.LIMIT_REACHED
        return halted

    @staticmethod
    def _at_vex(world: World, words: Any) -> bool:
        """Whether the next instruction has a VEX prefix: the library executes some of these as what
        they are without it."""
        view = world.view
        place = view.code_address(words[RIP], words[CS])
        size = min(_LONGEST_VEX, PAGE_SIZE - place % PAGE_SIZE)
        return is_vex(view.read(place, size), view.mode(words[CS]))

    @staticmethod
    def _at_far(world: World, words: Any) -> bool:
        """Whether the next instruction is one that may switch tasks."""
        view = world.view
        place = view.code_address(words[RIP], words[CS])
        size = min(_LONGEST_FAR, PAGE_SIZE - place % PAGE_SIZE)
        return is_far(view.read(place, size), view.mode(words[CS]))

    @staticmethod
    def _repair_flags(world: World, words: Any, code: int) -> None:
        """Counting in the library makes it compute the flags before every instruction; one that
        then stops makes it believe that it has not, and RFLAGS are computed from RFLAGS."""
        if code not in (_TRAP_EXIT, n.SYSCALL):
            flags: int = world.native.processor(world.slot).fields.condition[1]
            words[RFLAGS] = words[RFLAGS] & ~_ARITHMETIC_FLAGS | flags & _ARITHMETIC_FLAGS

    @staticmethod
    def _counted(exit_: Exit, event: memoryview, code: int, cs: int) -> int:
        """How many instructions were executed, not all of them of the block that the exit is in.

        HLT stops by executing (no event), and ends its block: the block counts without it.
        """
        counted = event[h.COUNTED]
        if code == h.LIMIT_REACHED:
            return counted
        world, block, size = exit_.world, event[h.BLOCK], event[h.BLOCK_SIZE]
        place = world.view.code_address(exit_.rip, cs) - block
        if 0 <= place < size:
            before, exit_.length = world.blocks.instruction(block, size, place)
            return counted + before - event[h.BLOCK_COUNT]
        return counted - 1

    def _classify(self, exit_: Exit, code: int) -> None:
        """An exit that needs a closer look."""
        if code < n.IO_IN:
            exit_.classify(code - n.SVM_EXIT)
            return
        assert self._native is not None
        event = self._native.event
        exit_.read_ahead = False
        if code != n.NO_MEMORY or not self._native.by_block:
            exit_.retired = event[n.COUNT] - 1
        exit_.size, exit_.is_write = event[n.SIZE], bool(event[n.WRITE])
        if code == n.NO_MEMORY:
            exit_.kind, exit_.address = ExitKind.NO_MEMORY, event[n.PLACE]
        elif code == n.SYSCALL:
            exit_.kind = ExitKind.SYSCALL
        else:
            exit_.kind, exit_.port = ExitKind.IO, event[n.PLACE]

    def _approach(self, world: World, registers: Registers, steps: int) -> None:
        """Step up to an instruction that cannot be fetched whole.

        The library reads a block of code before it executes any of it: where an instruction in the
        middle crosses into a page that faults, the fault comes at the beginning of the block. With
        RFLAGS.TF blocks have one instruction. (A PUSHF on these last steps would push TF.)
        """
        words, retired = registers.words, 0
        while True:
            words[RFLAGS] |= _TRAP_FLAG
            found = self.run(world, registers, steps - retired)
            words[RFLAGS] &= ~_TRAP_FLAG
            found.retired += retired
            if not (found.kind is ExitKind.EXCEPTION and found.vector == _DEBUG):
                return
            retired = found.retired
            if retired >= steps:
                found.kind = ExitKind.QUANTUM_END
                return

    @staticmethod
    def _ran_out(exit_: Exit, steps: int) -> None:
        """The run ended by itself: the quantum is over, or HLT has executed."""
        if exit_.retired >= steps:
            exit_.kind = ExitKind.QUANTUM_END
        else:
            exit_.kind = ExitKind.HLT
            exit_.rip -= 1
            exit_.words[RIP] = exit_.rip

    @staticmethod
    def _refused(error: int, rip: int) -> NoReturn:
        c.check(error, f"run at {rip:#x}")
        raise AssertionError("unreachable")

    def selftest(self) -> list[Check]:
        """Every behaviour of the library that ntsim relies on, tried on a machine of its own."""
        from ntsim.hw.engine.selftest import selftest

        return selftest()

    def flush_tlb(self) -> None:
        """Page tables or nested page tables in RAM have changed."""
        self._tlb_of = None
        self.tables[0] += 1
        self.tables[1] += 1

    def flush_linear(self) -> None:
        """Page tables in RAM may have changed, but no nested ones."""
        self._tlb_of = None
        self.tables[0] += 1

    def write_code(self, pa: int, data: bytes) -> None:
        """Write bytes that may have been executed before."""
        self.ram.write(pa, data)
        self._flush_code = True

    def invalidate_code(self) -> None:
        """Bytes that may have been executed before have changed."""
        self._flush_code = True

    def forget_code(self) -> None:
        """All code is new again: of what is known, some lies in other page frames now."""
        self.seen_code.forget()
        self._flush_code = True

    def notice_writes(self) -> None:
        """Code in the frames of `seen_code` may have been written from Python."""
        if self.seen_code.changed():
            self._flush_code = True
