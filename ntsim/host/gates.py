"""Gates of the interrupt descriptor table that a compiled driver has replaced.

As long as a gate leads to the kernel's own routine, what it is for is handled in Python. One that
leads anywhere else is delivered as the processor does it: a frame on the stack, RIP at the routine,
which goes back with IRETQ or jumps to the kernel's routine with the frame as it found it.
Exceptions of compiled code and interrupts by vector arrive so; a fault of Python code, the kernel's
or a driver's, is none of the processor's and does not. Source: SDM 3, "Exception and Interrupt
Handling in 64-bit Mode", "64-Bit Mode Stack Frame", "Interrupt Stack Table".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from ntsim.abi.ke import KTSS64
from ntsim.errors import UnmodelledRoutine
from ntsim.host.abi_x64 import RFLAGS, RIP, RSP, Activation
from ntsim.host.kernel_image import SERVICE_ENTRY
from ntsim.hw.cpu import RFLAGS_IF, Processor
from ntsim.hw.engine import Exit, ExitKind
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.ki.interrupt import ki_interrupt
from ntsim.nt.ki.processor import gate_name

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode

_CS, _SS = 0x10, 0x18
_PRESENT, _INTERRUPT_GATE, _TRAP_GATE = 0x80, 0xE, 0xF
_CLEARED = 1 << 8 | 1 << 14 | 1 << 16 | 1 << 17
"""TF, NT, RF and VM, which delivery clears."""

_WITH_ERROR_CODE = frozenset((8, 10, 11, 12, 13, 14, 17))
_LENGTH_OF_TRAP = {3: 1, 4: 1, 0x29: 2, 0x2C: 2, 0x2D: 2}
"""Instructions whose frame has the address behind them."""

_FIRST_INTERRUPT = 0x1F
SYSTEM_SERVICE = -1
"""No vector: where KiSystemCall64 looks up a service, which compiled code may reach as well."""

_DOUBLE_FAULT = 8


@dataclass(slots=True)
class Trap:
    """An exception that a replaced gate has handed on to the kernel: what an `Exit` says of it."""

    kind: ExitKind
    vector: int
    rip: int
    address: int | None = None
    error_code: int | None = None
    engine_limit: str = ""


class Gates:
    """The interrupt descriptor tables of one machine, as far as they are not the kernel's."""

    def __init__(self, code: NativeCode) -> None:
        self.code, self.nt = code, code.nt
        find = code.nt.nt_image.find_named
        symbols = (find(gate_name(vector)) for vector in range(256))
        self.own = [symbol.address if symbol is not None else 0 for symbol in symbols]
        self.vectors = {address: vector for vector, address in enumerate(self.own)}
        self.vectors[SERVICE_ENTRY] = SYSTEM_SERVICE
        self._tables = {p.idtr.base: self._table(p.idtr.base) for p in code.nt.processors}
        code.nt.ki.deliver = self.interrupt

    def _table(self, base: int) -> tuple[memoryview, bytes]:
        """A processor's own table, which is a page: its bytes now, and as the kernel made them."""
        pa = self.nt.mmu.physical(base)
        assert pa is not None
        view = memoryview(self.nt.mm.ram.map)[pa : pa + PAGE_SIZE]
        gates = bytearray(view)
        for vector, routine in enumerate(self.own):
            place, address = 16 * vector, routine.to_bytes(8, "little")
            gates[place : place + 2], gates[place + 6 : place + 12] = address[:2], address[2:]
        return view, bytes(gates)

    def replaced(self, processor: Processor, vector: int) -> bytes | None:
        """A gate that does not lead to the kernel's routine for its vector, else None."""
        table, place = processor.idtr, 16 * vector
        known = self._tables.get(table.base)
        if known is not None and known[0][place : place + 16] == known[1][place : place + 16]:
            return None
        if place + 15 > table.limit:
            return bytes(16)
        gate = self.nt.mmu.read(table.base + place, 16)
        return None if _routine(gate) == self.own[vector] and gate[5] & _PRESENT else gate

    # Exceptions of compiled code

    def exception(self, activation: Activation, exit_: Exit) -> bool:
        """Deliver an exception through its gate; False if the gate is the kernel's."""
        processor, vector = self.nt.il.current, exit_.vector
        gate = self.replaced(processor, vector)
        if gate is None:
            return False
        rip = exit_.rip
        if exit_.kind is ExitKind.SOFTWARE_INTERRUPT:
            rip += exit_.instruction_length
        if vector == 14:
            processor.cr2 = exit_.address
        code = (exit_.error_code or 0) if vector in _WITH_ERROR_CODE else None
        self._push(activation, processor, vector, gate, rip, code)
        return True

    def _push(
        self, activation: Activation, processor: Processor, vector: int, gate: bytes, rip: int,
        error_code: int | None,
    ) -> None:  # fmt: skip
        nt, words = self.nt, activation.words
        routine = self._checked(vector, gate)
        ist, stack = gate[4] & 7, words[RSP]
        top = KTSS64.at(nt.mmu, processor.tr.base).Ist[ist] if ist else stack
        frame = [rip, _CS, words[RFLAGS], stack, _SS]
        if error_code is not None:
            frame.insert(0, error_code)
        place = (top & ~15) - 8 * len(frame)
        low = activation.thread.stack_limit
        if place < low <= stack <= activation.thread.stack_base:
            nt.ki.double_fault(stack, rip)
        nt.mmu.write(place, struct.pack(f"<{len(frame)}Q", *frame))
        words[RSP], words[RIP] = place, routine
        words[RFLAGS] &= ~_CLEARED
        if gate[5] & 0xF == _INTERRUPT_GATE and words[RFLAGS] & RFLAGS_IF:
            words[RFLAGS] &= ~RFLAGS_IF
            nt.interrupts_off(processor, f"interrupt gate {vector:#x}")

    def _checked(self, vector: int, gate: bytes) -> int:
        """Where a gate leads; the run ends if it is one that is not modelled."""
        routine, kind = _routine(gate), gate[5] & 0x1F
        if not gate[5] & _PRESENT:
            self._refuse(vector, "is not present, or beyond the limit of the table")
        if kind not in (_INTERRUPT_GATE, _TRAP_GATE):
            self._refuse(vector, f"is of type {kind:#x}, neither interrupt nor trap gate")
        selector = int.from_bytes(gate[2:4], "little")
        if selector & ~3 != _CS:
            self._refuse(vector, f"has selector {selector:#x}, not the kernel's")
        if routine in self.code.routines:
            where = self.nt.describe_address(routine)
            self._refuse(vector, f"leads to {where}, which is in Python: IRETQ cannot leave it")
        return routine

    def _refuse(self, vector: int, why: str) -> NoReturn:
        processor = self.nt.il.current.number
        what = f"gate {vector:#x} of processor {processor}'s IDT"
        self.nt.fail(UnmodelledRoutine(what, f"the gate {why}"))
        raise AssertionError("the run went on")

    # The way back into the kernel

    def handed_on(self, activation: Activation, vector: int) -> Trap | None:
        """Compiled code has jumped to the kernel's routine for a vector, with its frame on the
        stack: take that off. The exception to handle, None if it was an interrupt."""
        nt, words = self.nt, activation.words
        error_code, size = None, 8 * 5
        stack = words[RSP]
        if vector in _WITH_ERROR_CODE:
            error_code = nt.mmu.read_word(stack)
            stack += 8
        rip, _, flags, old, _ = struct.unpack("<5Q", nt.mmu.read(stack, size))
        words[RIP], words[RSP], words[RFLAGS] = rip, old, flags
        processor = nt.il.current
        if vector >= _FIRST_INTERRUPT and vector not in _LENGTH_OF_TRAP:
            level, processor.cr8 = processor.cr8, max(processor.cr8, vector >> 4)
            self.code.flags_loaded(words)  # nothing comes before this one
            processor.cr8 = level
            ki_interrupt(nt, processor, vector)
            return None
        self.code.flags_loaded(words)
        words[RIP] = rip = rip - _LENGTH_OF_TRAP.get(vector, 0)
        kind = ExitKind.EXCEPTION
        if vector in _LENGTH_OF_TRAP:
            kind = ExitKind.SOFTWARE_INTERRUPT
        return Trap(kind, vector, rip, processor.cr2 if vector == 14 else None, error_code)

    # Interrupts

    def interrupt(self, processor: Processor, vector: int) -> None:
        """An interrupt, through its gate. The frame's RIP is the kernel's, whatever ran."""
        gate = self.replaced(processor, vector)
        if gate is None:
            ki_interrupt(self.nt, processor, vector)
        else:
            self.code.call_gate(processor, vector, gate)

    def enter(self, activation: Activation, processor: Processor, vector: int, gate: bytes) -> None:
        """The frame of an interrupt, for an activation that has nothing but a stack pointer."""
        activation.words[RFLAGS] = processor.rflags
        activation.top = activation.words[RSP] - 8
        self._push(activation, processor, vector, gate, self.code.exports.return_address, None)


def _routine(gate: bytes) -> int:
    return int.from_bytes(gate[0:2] + gate[6:12], "little")
