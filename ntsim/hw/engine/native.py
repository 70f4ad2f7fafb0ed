"""One instance of the C library, inside SVM guest mode for good.

The library is an x86 processor with AMD's SVM. Once a VMRUN has loaded a world, everything
that the world's control block intercepts ends up in the interrupt hook with the instruction pointer
on the instruction and nothing executed, and the processor never leaves guest mode: so the hook only
notes the number and stops, and all the thinking happens after `uc_emu_start` has returned.

Control blocks, MSR maps and the VMRUN stub lie in host memory of our own, mapped far above
any RAM: a world costs the simulated machine no byte of its memory.

Instructions are counted by blocks (`blocks.py`) or, on hosts that do not allow that, in the
library, at half of the speed; what runs is the same.

An instance outlives the machine it was made for (closing one loses 0.4 MiB): `give_back` unmaps
the RAM and keeps it for the next.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING, Any

from ntsim.hw.engine import hostcode, svm
from ntsim.hw.engine import unicorn_c as c
from ntsim.hw.engine.blocks import BlockTable
from ntsim.hw.engine.layout import Layout, SavedProcessor
from ntsim.hw.engine.registers import RFLAGS
from ntsim.hw.ram import BUS_END, PAGE_SIZE, Ram

if TYPE_CHECKING:
    from ntsim.hw.engine.registers import Registers

ARENA_BASE = 0x7F00_0000_0000
"""Physical address of the engine's own memory: canonical, and beyond a processor's 46 bits."""

_BUS_PIECE = 1 << 21
"""The library is told of the bus beyond RAM in pieces, when they are first accessed: unmapping
costs time for each page."""

MAX_WORLDS = 1000
"""At one time on one instance."""
_HOST_SAVE_PAGE, _SCRATCH_PAGE, _FIRST_SLOT, _SLOT_PAGES = 1, 2, 4, 4
ARENA_SIZE = (_FIRST_SLOT + MAX_WORLDS * _SLOT_PAGES) * PAGE_SIZE
_NO_RESERVE = 0x4000
_CR4_PAE = 1 << 5
_NMI, _UNDEFINED, RFLAGS_TF = 2, 6, 1 << 8
_FNINIT_CONTROL = 0x37F
_not_clear = ctypes.c_uint64(1)
_never_clear = ctypes.addressof(_not_clear)
"""In place of the event where the library counts: whether HLT has ended the run is not plain."""

CODE, STOP, PLACE, SIZE, WRITE, COUNT = range(6)
"""Words of `Native.event`: why the run stopped; (for the hook); if no SVM exit: port or physical
address, bytes, direction, the instruction counter. What follows them is in `hostcode`."""
SVM_EXIT = 0x100
"""CODE is 0, SVM_EXIT + an exit code of `svm`, or NO_MEMORY; `Native.halfway` the other three."""
IO_IN, IO_OUT, SYSCALL, NO_MEMORY = 0x10000, 0x10001, 0x10002, 0x10003


class Slot:
    """Where one world lives: a control block, its MSR map, the library's copy of the processor.

    `general` is RAX to R15 in that copy. `trip`, at host address `round_trip`, is what
    `hostcode.round_trip` and `hostcode.batch_trip` need to run it.
    """

    __slots__ = (
        "block",
        "context",
        "general",
        "host",
        "msr_map",
        "processor",
        "round_trip",
        "trip",
        "words",
    )

    def __init__(self, native: Native, number: int) -> None:
        offset = (_FIRST_SLOT + number * _SLOT_PAGES) * PAGE_SIZE
        self.block = ARENA_BASE + offset
        self.host = native.arena[offset : offset + PAGE_SIZE]
        self.words = self.host.cast("Q")
        self.msr_map = native.arena[offset + PAGE_SIZE : offset + 3 * PAGE_SIZE]
        self.context = native.new_context()
        self.processor = native.layout.overlay(self.context)
        self.general = memoryview(self.processor.fields.general).cast("B").cast("Q")
        self.trip = native.new_trip(self.context, self.processor)
        self.round_trip = ctypes.addressof(self.trip)


class Native:
    """A library instance with its hooks; `current` is the slot whose world is in the processor.

    `event` tells why a run stopped. `running` are the run's registers: what executes half of its
    instruction before it can be stopped (IN, OUT, SYSCALL) is caught by its hook, which stores the
    registers before that, and leaves `running` None and what it was in `halfway`: RFLAGS.TF may
    still trap behind it, and then `event` tells of that.
    """

    VMRUN_LIMIT = 0x5EED
    """Instructions that the run of the stub may take: any number, if a rare one."""

    def __init__(self, count_in_library: bool = False) -> None:
        """`count_in_library`: as on hosts that do not allow machine code of ours."""
        lib = self.lib = c.library()
        handle = ctypes.c_void_p()
        c.check(lib.uc_open(c.ARCH_X86, c.MODE_64, ctypes.byref(handle)), "open")
        self.handle = handle
        self.emu_start = lib.uc_emu_start
        self.read_batch, self.write_batch = lib.uc_reg_read_batch, lib.uc_reg_write_batch
        self.round_trip, self.batch_trip = hostcode.round_trip(), hostcode.batch_trip()
        self._context_save, self._context_restore = lib.uc_context_save, lib.uc_context_restore
        c.check(lib.uc_ctl(handle, c.CTL_CPU_MODEL, ctypes.c_int(c.CPU_OPTERON_G5)), "CPU model")
        c.check(lib.uc_ctl(handle, c.CTL_USE_EXITS, ctypes.c_int(1)), "no exit addresses")
        self.event = memoryview(bytearray(8 * hostcode.EVENT_WORDS)).cast("Q")
        self._pinned_event = ctypes.c_char.from_buffer(self.event)
        self._event_address = ctypes.addressof(self._pinned_event)
        self.by_block = hostcode.enter_block() is not None and not count_in_library
        self._callbacks: list[Any] = []
        self._refused: list[int] = []
        self.running: tuple[Registers, Slot] | None = None
        self.halfway = 0
        self.ram: Ram | None = None
        self._bus: list[tuple[int, int]] = []
        self._map_arena()
        self._add_hooks()
        self.translations: list[tuple[int, int]] = []
        if self.by_block:
            self._count_blocks()
        else:
            self._note_translations()
        self._enter_host_state()
        self._host_context = self.new_context()
        self.current: Slot | None = None
        self._made = 0
        self._free: list[Slot] = []
        self.layout = Layout(self)

    def _map_arena(self) -> None:
        flags = {}
        if hasattr(mmap, "MAP_PRIVATE"):
            flags["flags"] = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
        memory = mmap.mmap(-1, ARENA_SIZE, **flags)
        self._pin = ctypes.c_char.from_buffer(memory)
        self.arena = memoryview(memory)
        self.arena[: len(svm.STUB)] = svm.STUB
        address = ctypes.addressof(self._pin)
        error = self.lib.uc_mem_map_ptr(self.handle, ARENA_BASE, ARENA_SIZE, c.PROT_ALL, address)
        c.check(error, "map the control blocks")

    def _enter_host_state(self) -> None:
        """The state that VMRUN starts from: long mode without paging, SVM on.

        PAE and NXE here give every nested walk four levels and no-execute.
        """
        self.write_register(c.REG_CR4, _CR4_PAE)
        self.write_register(c.REG_FPCW, _FNINIT_CONTROL)
        self.write_register(c.REG_FPTAG, 0xFFFF)
        self._write_msr(svm.MSR_EFER, svm.EFER_SVME | svm.EFER_LME | svm.EFER_LMA | svm.EFER_NXE)
        self._write_msr(svm.MSR_VM_HSAVE_PA, ARENA_BASE + _HOST_SAVE_PAGE * PAGE_SIZE)

    def _add_hooks(self) -> None:
        stop, event = self.lib.uc_emu_stop, self.event

        def on_interrupt(handle: int, number: int, _: int) -> None:
            event[CODE] = number
            stop(handle)

        def on_io(code: int, handle: int, port: int, size: int) -> None:
            if self.running is None:
                return
            registers, slot = self.running
            registers.store_halfway(self, slot)
            if event[hostcode.STEPPING]:
                registers.words[RFLAGS] &= ~RFLAGS_TF
            self.running, self.halfway = None, code
            slot.trip[hostcode.HALFWAY] = 1
            event[PLACE], event[SIZE] = port, size
            event[COUNT], event[WRITE] = self.count(), code == IO_OUT
            stop(handle)

        def on_in(handle: int, port: int, size: int, _: int) -> int:
            on_io(IO_IN, handle, port, size)
            return 0

        def on_out(handle: int, port: int, size: int, value: int, _: int) -> None:
            on_io(IO_OUT, handle, port, size)

        def on_syscall(handle: int, _: int) -> None:
            on_io(SYSCALL, handle, 0, 0)

        def on_no_memory(
            handle: int, kind: int, address: int, size: int, value: int, _: int
        ) -> bool:
            fetch = kind in (c.MEM_FETCH_UNMAPPED, c.MEM_FETCH_PROT)
            if not fetch and self._map_bus(address):
                return True
            if self.by_block:  # a store that fails does not end the block
                on_io(NO_MEMORY, handle, address, size)
            event[CODE], event[PLACE], event[SIZE] = NO_MEMORY, address, size
            event[COUNT] = self.count() + fetch
            event[WRITE] = kind == c.MEM_WRITE_UNMAPPED
            return False

        event[STOP] = ctypes.cast(stop, ctypes.c_void_p).value or 0
        interrupt = hostcode.store_and_stop() or c.INTERRUPT_CALLBACK(on_interrupt)
        self._hook(c.HOOK_INTR, interrupt)
        self._hook(c.HOOK_INSN, c.IN_CALLBACK(on_in), ctypes.c_int(c.INS_IN))
        self._hook(c.HOOK_INSN, c.OUT_CALLBACK(on_out), ctypes.c_int(c.INS_OUT))
        self._hook(c.HOOK_INSN, c.SYSCALL_CALLBACK(on_syscall), ctypes.c_int(c.INS_SYSCALL))
        self._hook(c.HOOK_NO_MEMORY, c.UNMAPPED_CALLBACK(on_no_memory))

    def _hook(self, kind: int, callback: Any, *instruction: Any) -> None:
        self._callbacks.append(callback)  # the library only keeps the address
        code = callback if isinstance(callback, int) else ctypes.cast(callback, ctypes.c_void_p)
        added, everywhere = ctypes.byref(ctypes.c_size_t()), (1, 0)
        error = self.lib.uc_hook_add(
            self.handle, added, kind, code, self._event_address, *everywhere, *instruction
        )
        c.check(error, "add a hook")

    def refuse(self, places: list[int]) -> None:
        """Let instructions at these linear addresses be undefined, where the library counts: there
        it executes some VEX-encoded ones as what they are without the prefix."""
        stop, event = self.lib.uc_emu_stop, self.event

        def on_refused(handle: int, address: int, size: int, _: int) -> None:
            if self.running is not None:
                event[CODE] = SVM_EXIT + svm.EXCEPTION + _UNDEFINED
                stop(handle)

        callback = c.CODE_CALLBACK(on_refused)
        self._callbacks.append(callback)
        for place in places:
            made = ctypes.c_size_t()
            code = ctypes.cast(callback, ctypes.c_void_p)
            error = self.lib.uc_hook_add(
                self.handle, ctypes.byref(made), c.HOOK_CODE, code, None, place, place
            )
            c.check(error, "add a hook")
            self._refused.append(made.value)

    def _refuse_nothing(self) -> None:
        for made in self._refused:
            c.check(self.lib.uc_hook_del(self.handle, made), "remove a hook")
        self._refused.clear()

    def _count_blocks(self) -> None:
        """Have blocks counted by host code: `blocks.py`."""
        block, translated = hostcode.enter_block(), hostcode.translated()
        assert block is not None and translated is not None
        self._hook(c.HOOK_BLOCK, block)
        self._hook(c.HOOK_EDGE_GENERATED, translated)
        functions = self.lib.uc_emu_start, self.lib.uc_reg_read, self.lib.uc_reg_write
        addresses = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in functions)
        self._start_address, self.emu_start = hostcode.start(self._event_address, *addresses)
        self._own_blocks = BlockTable()

    def _note_translations(self) -> None:
        """Have address and size of every block that the library translates in `translations`.

        But for the very first of an instance, which the self-test runs.
        """
        add = self.translations.append

        def on_translated(handle: int, block: Any, before: int, _: int) -> None:
            made = block.contents
            add((made.address, made.size))

        self._hook(c.HOOK_EDGE_GENERATED, c.TRANSLATED_CALLBACK(on_translated))

    def count(self) -> int:
        """Instructions that this run has begun; of a block, all."""
        return self.event[hostcode.COUNTED] if self.by_block else self.layout.counter.value

    def translated(self, place: int) -> tuple[int, int]:
        """Bytes and instructions of the block at `place`, as the processor is now."""
        block = c.Block()
        address = ctypes.c_uint64(place)
        error = self.lib.uc_ctl(self.handle, c.CTL_REQUEST_BLOCK, address, ctypes.byref(block))
        c.check(error, f"translate {place:#x}")
        return block.size, block.instructions

    def new_context(self) -> Any:
        """A copy of the whole processor as it is now."""
        context = ctypes.c_void_p()
        c.check(self.lib.uc_context_alloc(self.handle, ctypes.byref(context)), "new context")
        c.check(self.lib.uc_context_save(self.handle, context), "save context")
        return context

    def write_register(self, register: int, value: int) -> None:
        box = ctypes.byref(ctypes.c_uint64(value))
        c.check(self.lib.uc_reg_write(self.handle, register, box), "write a register")

    def read_register(self, register: int) -> int:
        box = ctypes.c_uint64()
        c.check(self.lib.uc_reg_read(self.handle, register, ctypes.byref(box)), "read a register")
        return box.value

    def _write_msr(self, index: int, value: int) -> None:
        """Only outside guest mode: inside, the intercept would leave through a dead stack frame."""
        box = ctypes.byref(c.Msr(index, value))
        c.check(self.lib.uc_reg_write(self.handle, c.REG_MSR, box), "write an MSR")

    def scratch_block(self) -> tuple[int, memoryview]:
        """A control block for experiments: physical address and bytes."""
        offset = _SCRATCH_PAGE * PAGE_SIZE
        return ARENA_BASE + offset, self.arena[offset : offset + PAGE_SIZE]

    def take_slot(self) -> Slot:
        if self._free:
            return self._free.pop()
        if self._made == MAX_WORLDS:
            raise c.EngineError(f"{MAX_WORLDS} worlds exist: release some")
        self._made += 1
        return Slot(self, self._made - 1)

    def give_back_slot(self, slot: Slot) -> None:
        if self.current is slot:
            self.current = None
        self._free.append(slot)

    def vmrun(self, block: int) -> None:
        """Load the world whose control block lies at physical address `block`."""
        c.check(self.lib.uc_context_restore(self.handle, self._host_context), "leave guest mode")
        self.current = None
        self.flush_tlb()
        self.write_register(c.REG_RAX, block)
        self.event[CODE] = 0
        self._run_stub(self._own_blocks.address if self.by_block else 0, self.VMRUN_LIMIT)
        while self.event[CODE] in (hostcode.UNKNOWN_BLOCK, hostcode.NEW_BLOCK):
            self._own_blocks.put(self.event[PLACE], self.event[SIZE], 1)
            self._run_stub(0, 0)
        if self.event[CODE] != _NMI:
            raise c.EngineError(f"VMRUN ended with {self.event[CODE]:#x}, not with its NMI")

    def _run_stub(self, table: int, limit: int) -> None:
        c.check(self.emu_start(self.handle, ARENA_BASE, table, 0, limit), "VMRUN")

    def leave(self) -> None:
        """Save the world that is in the processor, which then holds none."""
        if self.current is not None:
            self.save(self.current)
            self.current = None

    def save(self, slot: Slot) -> None:
        """Copy the processor into `slot`."""
        error = self._context_save(self.handle, slot.context)
        if error:
            c.check(error, "save a world")

    def restore(self, slot: Slot) -> None:
        """Bring the world of `slot` into the processor. The TLB keeps the last one's entries."""
        error = self._context_restore(self.handle, slot.context)
        if error:
            c.check(error, "restore a world")
        self.current = slot

    def new_trip(
        self, context: ctypes.c_void_p, saved: SavedProcessor
    ) -> ctypes.Array[ctypes.c_uint64]:
        """The array that `hostcode.round_trip` and `batch_trip` take."""
        lib = self.lib
        functions = lib.uc_context_restore, lib.uc_emu_start, lib.uc_context_save, lib.uc_ctl
        addresses = (ctypes.cast(function, ctypes.c_void_p) for function in functions)
        words = [pointer.value or 0 for pointer in (self.handle, context, *addresses)]
        if self.by_block:
            words[hostcode.START] = self._start_address
        places = map(ctypes.addressof, (saved.fields, saved.cs, saved.ss))
        batch = (ctypes.cast(each, ctypes.c_void_p) for each in (self.write_batch, self.read_batch))
        trip = [*words, 0, *places, 0, *(pointer.value or 0 for pointer in batch)]
        trip.append(self._event_address if self.by_block else _never_clear)
        return (ctypes.c_uint64 * hostcode.TRIP_WORDS)(*trip)

    def processor(self, slot: Slot) -> SavedProcessor:
        """The processor of a world as it is now, for reading."""
        if self.current is slot:
            self.save(slot)
        return slot.processor

    def flush_tlb(self) -> None:
        self.lib.uc_ctl(self.handle, c.CTL_TLB_FLUSH)

    def flush_code(self) -> None:
        self.lib.uc_ctl(self.handle, c.CTL_TB_FLUSH)

    def map_ram(self, ram: Ram) -> None:
        error = self.lib.uc_mem_map_ptr(self.handle, 0, ram.size, c.PROT_ALL, ram.address)
        c.check(error, f"map {ram.size:#x} bytes of RAM")
        self.ram = ram

    def _map_bus(self, address: int) -> bool:
        """Answer for physical addresses around `address`, where there is no RAM."""
        if self.ram is None or address >= BUS_END:
            return False
        start = max(address & -_BUS_PIECE, self.ram.size)
        size = (address & -_BUS_PIECE) + _BUS_PIECE - start
        reads, writes = (ctypes.cast(each, ctypes.c_void_p) for each in (_reads, _writes))
        if self.lib.uc_mmio_map(self.handle, start, size, reads, None, writes, None):
            return False
        self._bus.append((start, size))
        return True

    def unmap_ram(self) -> None:
        """Forget the RAM and everything translated from it."""
        if self.ram is not None:
            c.check(self.lib.uc_mem_unmap(self.handle, 0, self.ram.size), "unmap RAM")
        for start, size in self._bus:
            c.check(self.lib.uc_mem_unmap(self.handle, start, size), "unmap the bus")
        self._bus.clear()
        self.ram = self.current = None
        self._refuse_nothing()
        self.flush_code()
        self.flush_tlb()


_idle: dict[bool, list[Native]] = {False: [], True: []}
"""By whether they count blocks."""


def idle() -> Native | None:
    """An instance whose machine is gone and that counts instructions as this host lets us."""
    instances = _idle[hostcode.enter_block() is not None]
    return instances.pop() if instances else None


def give_back(native: Native) -> None:
    """Keep an instance for the next machine."""
    native.unmap_ram()
    _idle[native.by_block].append(native)


def _nothing_answers(handle: int, offset: int, size: int, _: int) -> int:
    return (1 << 64) - 1


def _nothing_listens(handle: int, offset: int, size: int, value: int, _: int) -> None:
    """What is written where there is no RAM is lost."""


_reads, _writes = c.READ_CALLBACK(_nothing_answers), c.WRITE_CALLBACK(_nothing_listens)
