"""The registers of one thread of execution, and how they get into the library and out of it.

`words` is the truth between runs; names are the same words. A thread that may run in any world has
a `RegisterFile`: batch calls of the library move every register of it (0.6 us both ways). A world
that one thread alone runs in, a guest, keeps its vector and floating-point registers to itself and
has `ResidentRegisters`: the world's saved processor comes back as it went, and only the general
registers are looked at outside (0.7 us both ways, the saved processor included).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from ntsim.hw.engine import hostcode
from ntsim.hw.engine import unicorn_c as c

if TYPE_CHECKING:
    from ntsim.hw.engine.native import Native, Slot

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 = range(16)
RFLAGS, RIP, CS, SS, MXCSR, XMM = 16, 17, 18, 19, 20, 22
RESIDENT_WORDS = SS + 1
_WORDS = XMM + 2 * 16

# What is read is a longer list than what is written: RIP is an argument of the run, and a selector
# written alone would not load its segment.
_NOT_WRITTEN = (c.REG_RIP, c.REG_CS, c.REG_SS)
_IDS = (*c.REG_GENERAL, c.REG_RFLAGS, *c.REG_XMM, c.REG_MXCSR, *_NOT_WRITTEN)
_PLACES = (*range(17), *range(XMM, _WORDS, 2), MXCSR, RIP, CS, SS)
_ids = (ctypes.c_int * len(_IDS))(*_IDS)
_INITIAL_MXCSR = 0x1F80
_ALWAYS_ONE = 2  # of RFLAGS
_GENERAL = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
_NAMES = (*_GENERAL, "rflags", "rip", "cs", "ss")


class _Word:
    """One word of a register file as an attribute; values are taken modulo 2**64."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __get__(self, registers: Registers, owner: object = None) -> int:
        return registers.words[self.number]

    def __set__(self, registers: Registers, value: int) -> None:
        registers.words[self.number] = value


class Fields(ctypes.Structure):
    """The first words of a register file by name: read in half of the time of an index."""

    __slots__ = ()
    rax: int
    rcx: int
    rdx: int
    rsp: int
    r8: int
    r9: int
    rflags: int
    rip: int
    cs: int
    _fields_ = tuple((name, ctypes.c_uint64) for name in _NAMES)


class Registers:
    """RAX to R15, RFLAGS, RIP: `words`, indexed by the constants of this module, or by name.

    `fields` are the same words. `cs` and `ss` hold the selectors after a run and are not loaded by
    one: a world has them.
    """

    __slots__ = ("address", "exit", "fields", "words")
    address: int  # for the host code

    rax, rcx, rdx, rbx = _Word(RAX), _Word(RCX), _Word(RDX), _Word(RBX)
    rsp, rbp, rsi, rdi = _Word(RSP), _Word(RBP), _Word(RSI), _Word(RDI)
    r8, r9, r10, r11 = _Word(R8), _Word(R9), _Word(R10), _Word(R11)
    r12, r13, r14, r15 = _Word(R12), _Word(R13), _Word(R14), _Word(R15)
    rflags, rip, cs, ss = _Word(RFLAGS), _Word(RIP), _Word(CS), _Word(SS)

    def __init__(self, words: ctypes.Array[ctypes.c_uint64]) -> None:
        self.exit: Any = None  # the engine's, used again from run to run
        self.words = words
        self.fields = Fields.from_buffer(words)
        self.words[RFLAGS] = _ALWAYS_ONE

    def run(self, native: Native, slot: Slot, steps: int, flush_tlb: bool) -> int:
        """Run the world of `slot` from RIP on with these registers.

        Not negative if it has stopped at HLT, which RIP is put back to: how many instructions were
        executed before. Else the inverted error code of the library; some runs only tell that of
        HLT, too. Before the registers are up to date again `native.running` may have become None:
        then a hook has stored them.
        """
        raise NotImplementedError

    def store_halfway(self, native: Native, slot: Slot) -> None:
        """From inside a hook: bring them up to date though the run has not ended yet."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return " ".join(f"{name}={self.words[i]:x}" for i, name in enumerate(_NAMES[:-2]))


class RegisterFile(Registers):
    """A thread's registers, with XMM0 to XMM15 and MXCSR; the x87 registers stay with the world.

    XMM register n is the two words from `XMM + 2 * n`.
    """

    __slots__ = ("_batch", "_read", "_write")

    mxcsr = _Word(MXCSR)

    def __init__(self) -> None:
        super().__init__((ctypes.c_uint64 * _WORDS)())
        self.words[MXCSR] = _INITIAL_MXCSR
        first = ctypes.addressof(self.words)
        pointers = (ctypes.c_void_p * len(_IDS))(*(first + 8 * place for place in _PLACES))
        self._read = (_ids, pointers, len(_IDS))
        self._write = (_ids, pointers, len(_IDS) - len(_NOT_WRITTEN))
        self._batch = (ctypes.c_uint64 * hostcode.BATCH_WORDS)(
            ctypes.addressof(_ids), ctypes.addressof(pointers), self._write[2], self._read[2],
            first + 8 * RIP,
        )  # fmt: skip
        self.address = ctypes.addressof(self._batch)

    def run(self, native: Native, slot: Slot, steps: int, flush_tlb: bool) -> int:
        if native.current is not slot:
            native.leave()
            native.restore(slot)
        batch_trip = native.batch_trip
        if batch_trip is not None:
            control = c.CTL_TLB_FLUSH if flush_tlb else 0
            return batch_trip(slot.round_trip, self.address, steps, control)
        if flush_tlb:
            native.flush_tlb()
        native.write_batch(native.handle, *self._write)
        error: int = native.emu_start(
            native.handle, self.words[RIP], slot.trip[hostcode.BLOCKS], 0, steps
        )
        if native.running is not None:
            native.read_batch(native.handle, *self._read)
        return ~error

    def store_halfway(self, native: Native, slot: Slot) -> None:
        native.read_batch(native.handle, *self._read)

    def xmm(self, number: int) -> int:
        """XMM register `number` as a 128-bit integer."""
        low, high = self.words[XMM + 2 * number], self.words[XMM + 2 * number + 1]
        return low | high << 64

    def set_xmm(self, number: int, value: int) -> None:
        """Set XMM register `number` to the low 128 bits of `value`."""
        self.words[XMM + 2 * number] = value & 0xFFFF_FFFF_FFFF_FFFF
        self.words[XMM + 2 * number + 1] = value >> 64 & 0xFFFF_FFFF_FFFF_FFFF

    def copy_from(self, other: RegisterFile) -> None:
        """Take over every word of another register file."""
        ctypes.memmove(self.words, other.words, ctypes.sizeof(self.words))


class FloatingState:
    """What loading a world would lose: its vector and x87 registers, with their control words."""

    _REGISTERS = (*c.REG_XMM, *c.REG_X87, c.REG_MXCSR, c.REG_FPCW, c.REG_FPSW, c.REG_FPTAG)
    _ids = (ctypes.c_int * len(_REGISTERS))(*_REGISTERS)

    def __init__(self, native: Native) -> None:
        """As it is in the library's processor."""
        count = len(self._REGISTERS)
        self._values = (ctypes.c_uint64 * (2 * count))()
        first = ctypes.addressof(self._values)
        pointers = (ctypes.c_void_p * count)(*(first + 16 * i for i in range(count)))
        self._batch = self._ids, pointers, count
        native.read_batch(native.handle, *self._batch)

    def put_back(self, native: Native) -> None:
        """Into the library's processor."""
        native.write_batch(native.handle, *self._batch)


class ResidentRegisters(Registers):
    """The registers of the one thread that runs in a world, in `storage` that is somebody else's.

    Between runs the world's saved processor is up to date, and the library's is nobody's. The
    library takes the arithmetic flags apart when a run begins and puts them back when it ends: the
    saved RFLAGS are whole then, but not yet when a hook stores the registers halfway.
    """

    __slots__ = ("_general",)

    def __init__(self, storage: bytearray | None = None) -> None:
        room = bytearray(8 * RESIDENT_WORDS) if storage is None else storage
        super().__init__((ctypes.c_uint64 * RESIDENT_WORDS).from_buffer(room))
        self.address = ctypes.addressof(self.words)
        self._general = memoryview(room).cast("Q")[:16]

    def run(self, native: Native, slot: Slot, steps: int, flush_tlb: bool) -> int:
        if native.current is not None:
            native.leave()
        round_trip = native.round_trip
        if round_trip is not None:
            control = c.CTL_TLB_FLUSH if flush_tlb else 0
            return round_trip(slot.round_trip, self.address, steps, control)
        words = self.words
        slot.general[:] = self._general
        slot.processor.fields.rflags = words[RFLAGS] | _ALWAYS_ONE
        if flush_tlb:
            native.flush_tlb()
        native.restore(slot)
        error: int = native.emu_start(
            native.handle, words[RIP], slot.trip[hostcode.BLOCKS], 0, steps
        )
        native.current = None
        if native.running is not None:
            native.save(slot)
            self._store(slot)
        return ~error

    def _store(self, slot: Slot) -> None:
        words, saved = self.words, slot.processor
        fields = saved.fields
        self._general[:] = slot.general
        words[RFLAGS], words[RIP] = fields.rflags, fields.rip
        words[CS], words[SS] = saved.cs.selector, saved.ss.selector

    def store_halfway(self, native: Native, slot: Slot) -> None:
        native.save(slot)
        self._store(slot)
        self.words[RFLAGS] = native.read_register(c.REG_RFLAGS)
