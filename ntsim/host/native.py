"""Runs compiled driver code on the simulated processors.

Every call of compiled code is an activation: a register file and a place on the thread's kernel
stack. The engine runs it for what is left of the processor's quantum; whatever stops it is handled
in Python after the engine has returned, so that the code may block, be switched to another
processor or call further compiled code meanwhile. Each processor has one world. Exports are reached
by HLT in their bodies, the way back into the kernel by HLT at the return address.

Rejected: running exports inside a callback of the engine (two stacks that wait there cannot be
resumed in any order).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from greenlet import getcurrent

from ntsim.host.abi_x64 import (
    RAX,
    RFLAGS,
    RIP,
    RSP,
    Activation,
    ExportCalls,
    enter,
    store_result,
)
from ntsim.host.export_table import ExportTable
from ntsim.host.gates import Gates
from ntsim.host.held_export import HeldExport
from ntsim.host.kernel_image import BODIES, HLT_OFFSET
from ntsim.host.libraries import Libraries
from ntsim.host.native_exits import Exits
from ntsim.host.native_guest import GuestRuns
from ntsim.host.native_image import ImageLoader, NativeImage
from ntsim.host.native_stacks import NativeStacks
from ntsim.host.seh import ContextRestored, Dispatcher, UnwindThrough
from ntsim.host.seh_exports import SehExports
from ntsim.host.system_calls import SystemCalls
from ntsim.hw.cpu import RFLAGS_FIXED, RFLAGS_IF, Processor
from ntsim.hw.engine import Engine, ExitKind, RegisterFile, View, World, WorldState
from ntsim.hw.vmx.virtualised import VirtualisedProcessor
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.stack import FAST_FAIL_INCORRECT_STACK
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.host.drivers import DriverHost

HLT = ExitKind.HLT
INSTRUCTIONS_PER_STEP = 32
"""A step is what a call of Python kernel code costs; instructions are shorter."""

KERNEL_FRAMES, NESTED_FRAMES = 0x300, 0x180
"""Bytes of stack that the kernel's own frames take above the first and further compiled ones."""


class NativeCode:
    """The compiled drivers of one machine; made when the first is loaded."""

    def __init__(self, nt: Kernel, host: DriverHost) -> None:
        self.nt, self.host, self.routines = nt, host, host.routines
        self.exports = ExportTable(nt, host.kernel_image)
        self.loader = ImageLoader(nt, self.exports)
        self.calls = ExportCalls(nt, self.exports)
        self.exits = Exits(self)
        self.dispatcher = Dispatcher(self)
        self.calls.replace(SehExports(self).routines)
        self.calls.replace_stubs()
        if nt.engine is None:
            nt.engine = Engine(nt.mm.ram)
        self.engine: Engine = nt.engine
        self.watched = self.engine.seen_code.frames
        self.loose: dict[int, int] = {}  # pages of code outside of images, and their frames
        nt.mm.system.watch = self.engine.seen_code.saw
        self.worlds: list[World | None] = [None] * len(nt.processors)
        self.guests = GuestRuns(self)
        self.gates = Gates(self)
        self.libraries = Libraries(self)
        self.system_calls = SystemCalls(self)
        self.stacks = NativeStacks(self)
        self._current: list[Any] = [None] * len(nt.processors)  # worlds that need no load
        self._seen_changes = -1
        self._idle: list[Activation] = []
        self._last = len(self.exports.names) - 1
        self.images: dict[int, NativeImage] = {}  # by addresses that were asked for
        self._turn = 0
        self._open: dict[int, Activation] = {}

    # Images

    def load(self, path: Path, name: str | None) -> NativeImage:
        """Map a driver; DriverLoadError if it cannot be."""
        known = set(self.loader.loaded)
        made = self.libraries.load(path, name)
        self.engine.invalidate_code()
        self.engine.start()
        if not self.engine.by_block:
            for base in self.loader.loaded.keys() - known:
                self.engine.refuse(self.loader.loaded[base].vex_places())
        return made

    def unload(self, native: NativeImage) -> None:
        self.loader.unload(native)
        self.engine.invalidate_code()
        self.libraries.unloaded(native)
        self.stacks.forget()
        self.images.clear()

    def innermost(self, thread: Any, rsp: int) -> Activation | None:
        """The innermost call on a thread's kernel stack that `rsp` is a stack pointer of."""
        calls = [a for a in self._open.values() if a.thread is thread and a.top + 8 >= rsp]
        return min(calls, key=lambda each: each.top, default=None)

    def caller(self) -> Activation | None:
        """The compiled code on whose behalf the kernel runs; None if a Python driver called."""
        thread = self.nt.thread
        if not thread.images or thread.images[-1].base not in self.loader.loaded:
            return None
        return self.innermost(thread, thread.storage)

    def has_frame(self, establisher: int, left: Activation | None = None) -> bool:
        """Whether compiled code on the stack in use has a frame there, but for an activation whose
        frames have been `left`."""
        here = getcurrent()
        return any(
            place.frame.establisher == establisher
            for activation in self._open.values()
            if activation.greenlet is here and activation is not left
            for place in self.dispatcher.places(activation)
        )

    def image_at(self, address: int) -> NativeImage | None:
        """The compiled driver that an address lies in."""
        found = self.images.get(address)
        if found is None:
            for native in self.loader.loaded.values():
                if address in native.image:
                    found = self.images[address] = native
                    break
        return found

    def owns(self, address: int) -> bool:
        """Whether an address lies in a compiled driver or an export's body."""
        return (
            address in self.images
            or self.image_at(address) is not None
            or self.exports.number_at(address) >= 0
        )

    # Calls

    def call(self, address: int, arguments: tuple[Any, ...]) -> int:
        """Call compiled code on the current kernel stack; what it leaves in RAX."""
        nt, idle = self.nt, self._idle
        activation = idle.pop() if idle else Activation(RegisterFile())
        thread = nt.il.current.context
        activation.begin(thread)
        storage, images = thread.storage, thread.images
        thread.storage = storage - (NESTED_FRAMES if images else KERNEL_FRAMES)
        native = self.images.get(address) or self.image_at(address)
        images.append(native.image if native is not None else nt.nt_image)
        try:
            enter(nt, activation, address, arguments, self.exports.return_address)
            self._open[activation.top] = activation
            result = self.run_compiled(activation)
        except RecursionError as error:
            self.host.stack_overflow(error)
        except UnwindThrough as unwinding:
            if not self.has_frame(unwinding.target, activation):  # left by another unwinding
                self.dispatcher.no_frame(unwinding.target, unwinding.error.ExceptionAddress)
            raise
        finally:
            self._open.pop(activation.top, None)
            thread.storage = storage
            images.pop()
        activation.thread = activation.greenlet = None
        idle.append(activation)
        if native is not None and address == native.entry:
            self.loader.discard_init(native)
            self.engine.invalidate_code()
        return result

    def call_handler(self, address: int, unit: Any) -> int:
        """Compiled code at HOST_RIP: it starts with the guest's registers, and no return address.

        Comes back when it executes VMRESUME, with its registers in the unit.
        """
        nt, processor = self.nt, self.nt.il.current
        activation = Activation(RegisterFile())
        thread = nt.thread
        activation.begin(thread)
        storage = thread.storage
        words = activation.words
        system = unit.system
        if system is not None and system.waiting and system.activation is not None:
            activation.registers.copy_from(system.activation.registers)  # XMM are the guest's
        words[0:16] = unit.gpr[0:16]
        words[RSP], words[RIP], words[RFLAGS] = processor.rsp, address, RFLAGS_FIXED
        activation.guest, activation.top = unit, processor.rsp
        self.forget_world(processor)
        try:
            return self.run_compiled(activation)
        finally:
            thread.storage = storage

    def call_gate(self, processor: Processor, vector: int, gate: bytes) -> None:
        """An interrupt through a gate that a driver has replaced; back with IRETQ."""
        thread = self.nt.thread
        activation = Activation(RegisterFile())
        activation.begin(thread)
        storage = thread.storage
        activation.words[RSP] = storage & ~15
        thread.images.append(self.nt.nt_image)
        try:
            self.gates.enter(activation, processor, vector, gate)
            self._open[activation.top] = activation
            self.run_compiled(activation)
        finally:
            self._open.pop(activation.top, None)
            thread.storage = storage
            thread.images.pop()

    def leave_handler(self, activation: Activation) -> None:
        """The exit handler has executed VMRESUME: end its activation."""
        unit = activation.guest
        system = unit.system
        unit.gpr[:] = activation.words[0:16]
        if system is not None and system.waiting and system.activation is not None:
            system.activation.registers.copy_from(activation.registers)
        activation.resumes = True
        activation.words[RIP] = self.exports.return_address

    @contextmanager
    def below(self, activation: Activation, size: int, floor: int | None = None) -> Iterator[int]:
        """Room on the stack below an activation (or lower still), for a call on its behalf."""
        thread, stack = activation.thread, activation.words[RSP]
        storage = thread.storage
        room = ((stack if floor is None else min(floor, stack)) - size) & ~15
        if thread.stack_limit <= stack <= thread.stack_base and room < thread.stack_limit:
            self.nt.ki.double_fault(room, activation.words[RIP])
        thread.storage = room
        try:
            yield thread.storage
        finally:
            thread.storage = storage

    # The loop

    def run_compiled(self, activation: Activation) -> int:
        """Run an activation until it returns to the kernel. Stack captures know it by its name."""
        nt, fields, registers = self.nt, activation.fields, activation.registers
        il, mmu, engine, thread = nt.il, nt.mmu, self.engine, activation.thread
        back, guests, guest = self.exports.return_address, self.guests, activation.guest
        watched, current = self.watched, self._current
        world: Any = None
        exit_: Any = None
        while True:
            if fields.rip == back:
                return self._returned(activation)
            processor = il.current
            in_guest = processor.__class__ is VirtualisedProcessor
            if not in_guest:
                world = current[processor.number]
                if world is None:
                    world = self._make_world(processor)
                if world.root != processor.cr3:
                    world.cr3 = processor.cr3
            if mmu.changes != self._seen_changes:
                self.flush_translations()
            if watched:
                engine.notice_writes()
            if (fields.rflags ^ processor.rflags) & RFLAGS_IF:
                fields.rflags ^= RFLAGS_IF
            budget = processor.budget
            # Some fewer steps each time than there could be: a loop whose length divides the
            # quantum would be interrupted at the same place every time.
            if budget < 4:
                steps = max(2, (budget + 1) * INSTRUCTIONS_PER_STEP)
            else:
                self._turn = turn = (self._turn + 1) % 7
                steps = (budget + 1) * INSTRUCTIONS_PER_STEP - turn
            if guest is None and not in_guest:
                retired = engine.run_to_halt(world, registers, steps)
                if retired < 0:
                    exit_ = registers.exit
                    kind, retired = exit_.kind, exit_.retired
                else:
                    exit_ = None
                    kind = HLT
            else:
                if in_guest:
                    exit_ = guests.run(activation, processor, steps)
                    if exit_ is None:
                        continue
                else:
                    exit_ = engine.run(world, registers, guests.steps_for(activation, steps))
                kind, retired = exit_.kind, exit_.retired
            processor.budget = budget - retired // INSTRUCTIONS_PER_STEP
            thread.storage = fields.rsp
            if (fields.rflags ^ processor.rflags) & RFLAGS_IF:
                self._interrupt_flag_changed(fields.rflags)
            if guest is not None:
                guests.gone_back(activation)
            if kind is HLT:
                rip = fields.rip if exit_ is None else exit_.rip
                offset = rip - BODIES
                if offset & 31 == HLT_OFFSET and 0 <= offset >> 5 < self._last:
                    self._export(activation, offset >> 5)
                    continue
                if rip == back:
                    return self._returned(activation)
            elif kind is ExitKind.QUANTUM_END:
                if in_guest and guests.stepped(activation, processor):
                    continue
                processor.budget = -1
                il.give_way()
                continue
            self._stopped(activation, exit_ or engine.halted(world, registers, retired))

    def _returned(self, activation: Activation) -> int:
        """The code is back at its return address, which need not be that of its own call.

        An exit handler that ended the guest goes on on the stack that entered it: what it returns
        to is the kernel routine that called the driver there.
        """
        fields = activation.fields
        if activation.guest is not None and activation.resumes:
            return 0
        if fields.rsp != activation.top + 8:
            self._return_elsewhere(activation)
        return fields.rax

    def _return_elsewhere(self, activation: Activation) -> NoReturn:
        """Give what was returned to the call that the stack belongs to; this one is abandoned."""
        nt, words = self.nt, activation.words
        owner = self._open.get(words[RSP] - 8)
        if owner is None or owner.greenlet.dead:
            reason = "compiled code came back to the kernel on a stack that nobody called it on"
            nt.fast_fail(FAST_FAIL_INCORRECT_STACK, reason)
            raise AssertionError("the fast fail came back")
        owner.words[RIP], owner.words[RAX] = words[RIP], words[RAX]
        owner.words[RSP] = words[RSP]
        nt.il.current.greenlet = owner.greenlet
        owner.greenlet.switch()
        nt.il.check_closed()
        raise AssertionError("an abandoned stack was resumed")

    def _export(self, activation: Activation, number: int) -> None:
        """Run an export and go on behind the call, or at the handler of what it raised."""
        fields, calls = activation.fields, self.calls
        activation.in_export, calls.activation = True, activation
        try:
            entry, count = calls.entries[number]
            if count == 1:
                result = entry(fields.rcx)
            elif count == 2:
                result = entry(fields.rcx, fields.rdx)
            else:
                result = calls.call(number, activation.words)
            if result.__class__ is int:
                fields.rax = result
            elif result is not None:
                store_result(activation.words, result)
        except (StructuredException, UnwindThrough) as error:
            if not self.dispatcher.dispatch(activation, error):
                raise
        except ContextRestored:
            if not self.guests.is_for(activation):
                raise
        else:
            stack = fields.rsp
            fields.rip = self.nt.mmu.read_word(stack)
            fields.rsp = stack + 8
        finally:
            activation.in_export = False

    def _stopped(self, activation: Activation, exit_: Any) -> None:
        """Anything but an export."""
        il = self.nt.il
        il.labour += 1
        il.step()
        rip = exit_.rip
        if rip in self.routines:
            self._python_routine(activation, rip)
            return
        virtualised = self.nt.il.current.__class__ is VirtualisedProcessor
        vector = self.gates.vectors.get(rip)
        try:
            if vector is not None:
                self.exits.handed_on(activation, vector)
            elif not (virtualised and self.guests.stopped(activation, exit_)):
                self.exits.handle(activation, exit_)
        except (StructuredException, UnwindThrough) as error:
            if not self.dispatcher.dispatch(activation, error):
                raise

    def _python_routine(self, activation: Activation, address: int) -> None:
        """Compiled code called a routine of a Python driver, or one inside the kernel."""
        words = activation.words
        if activation.user:
            self.system_calls.check(activation)
        activation.in_export = True
        try:
            routine = self.routines[address][0]
            arguments = self.calls.of_routine(routine, words)
            if isinstance(routine, HeldExport):  # its caller is the driver, as of any export
                store_result(words, routine(*arguments))
            else:
                store_result(words, self.nt.host.call(address, arguments))
        except (StructuredException, UnwindThrough) as error:
            if not self.dispatcher.dispatch(activation, error):
                raise
        else:
            words[RIP] = self.nt.mmu.read_word(words[RSP])
            words[RSP] += 8
        finally:
            activation.in_export = False

    def _interrupt_flag_changed(self, rflags: int) -> None:
        """CLI, STI and POPF execute in the engine: what follows from them."""
        nt, processor = self.nt, self.nt.il.current
        if rflags & RFLAGS_IF:
            nt.interrupts_back_on(processor, "STI")
        else:
            nt.interrupts_off(processor, "CLI")

    def flags_loaded(self, words: Any) -> None:
        """RFLAGS were loaded whole: interrupts are on or off from here."""
        if (words[RFLAGS] ^ self.nt.il.current.rflags) & RFLAGS_IF:
            self._interrupt_flag_changed(words[RFLAGS])

    # Worlds

    def _make_world(self, processor: Processor) -> World:
        """The processor's world with the state it has now."""
        state = WorldState.of(processor)
        world = self.worlds[processor.number]
        if world is None:
            world = self.worlds[processor.number] = self.engine.world(state)
            world.on_code = self.code_seen
        else:
            world.load(state)
        self._current[processor.number] = world
        return world

    def code_seen(self, view: View, place: int, size: int) -> None:
        """New code: the pages of images cannot be written but in ways that SystemSpace tells of;
        what lies elsewhere, in pool as a rule, any routine of the kernel may write."""
        frame = view.frame(place >> 12)
        if frame is None or frame >> 12 not in self.nt.mm.system.code:
            self.engine.seen_code.block(view, place, size)
            for page in (place >> 12, place + size - 1 >> 12):
                self.loose[page] = view.frame(page) or 0

    def forget_world(self, processor: Processor) -> None:
        """Control registers, segments or MSRs of the processor have changed."""
        self._current[processor.number] = None

    def store_world(self, processor: Processor) -> None:
        """Bases that the code may have changed itself, by SWAPGS, into the processor."""
        if processor.__class__ is VirtualisedProcessor:
            self.guests.store_world(processor)
            return
        world = self.worlds[processor.number]
        if world is not None:
            world.state().into(processor)

    def flush_translations(self) -> None:
        """Page tables have changed."""
        self._seen_changes = self.nt.mmu.changes
        self.engine.flush_tlb()
        physical = self.nt.mmu.physical
        if any((physical(page << 12) or 0) != frame for page, frame in self.loose.items()):
            self.loose.clear()
            self.engine.forget_code()
