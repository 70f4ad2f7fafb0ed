"""Structured exception handling of compiled code: `__try`, `__except`, `__finally`.

An exception that kernel Python raises under compiled code is dispatched over that code's frames:
first filters are asked from the inside out, then termination handlers run up to the frame that
takes it, and the code goes on at its handler. Frames whose handler is `__C_specific_handler` count;
its scope table stands behind it in the unwind data. Source: x64 exception handling; winnt.h,
SCOPE_TABLE_AMD64.

Between compiled code and compiled code there may be the kernel's Python: then the exception passes
through the inner code first, whose termination handlers run when the outer code has taken it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.abi.rtl import CONTEXT, EXCEPTION_RECORD
from ntsim.host.abi_x64 import RAX, RIP, RSP, Activation
from ntsim.host.native_image import NativeImage
from ntsim.host.unwind import WORDS, Frame, unwind
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode

EXECUTE_HANDLER, CONTINUE_SEARCH = 1, 0
_DEEPEST = 200
_JUMP = b"\xff\x25"
_NAMES = (
    "Rax", "Rcx", "Rdx", "Rbx", "Rsp", "Rbp", "Rsi", "Rdi",
    "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scope:
    """A guarded range: `target` is 0 for `__finally`, whose code is then `handler`."""

    begin: int
    end: int
    handler: int
    target: int


@dataclass(slots=True)
class Place:
    """Where a frame was executing when the exception came through."""

    rip: int
    registers: list[int]
    frame: Frame


@dataclass(frozen=True, slots=True)
class Passed:
    """Compiled code that an exception went through unhandled; its stack from `stack` upwards is
    needed until its termination handlers have run."""

    stack: int
    places: list[Place]
    caller: bool


class Dispatcher:
    """Dispatches exceptions over one machine's compiled code."""

    def __init__(self, code: NativeCode) -> None:
        self.code, self.nt = code, code.nt

    def places(self, activation: Activation) -> list[Place]:
        """The frames of an activation, innermost first."""
        words = activation.words
        registers, rip = list(words[0:WORDS]), words[RIP]
        read = self.nt.mmu.read_word
        if activation.in_export:
            rip = read(registers[RSP])
            registers[RSP] += 8
        found: list[Place] = []
        while rip != self.code.exports.return_address and len(found) < _DEEPEST:
            native = self.code.image_at(rip)
            if native is None and found and self.code.exports.number_at(rip) < 0:
                break
            if self.nt.mmu.probe(registers[RSP]) is None:
                break
            frame = unwind(native, rip, registers, read)
            found.append(Place(rip, registers, frame))
            rip, registers = frame.rip, frame.registers
        return found

    def dispatch(self, activation: Activation, error: StructuredException) -> bool:
        """Let a handler in the activation's frames take the exception; False if none does."""
        places = self.places(activation)
        caller = activation.in_export
        for depth, place in enumerate(places):
            scopes = self._scopes(place.frame)
            for number, scope in enumerate(scopes):
                if not self._covers(scope, place, caller or depth > 0) or not scope.target:
                    continue
                origin = next((p.places[0] for p in error.passed if p.places), places[0])
                verdict = self._filter(activation, error, place, scope, origin)
                if verdict == CONTINUE_SEARCH:
                    continue
                if verdict < 0:
                    return not caller
                self._unwind_passed(activation, error)
                self._unwind(activation, places[: depth + 1], number, caller)
                self._resume(activation, place, scope, error)
                return True
        error.passed = (*error.passed, Passed(activation.words[RSP], places, caller))
        return False

    def _unwind_passed(self, activation: Activation, error: StructuredException) -> None:
        """Every termination handler of the code further in."""
        floor = _floor(error)
        for passed in error.passed:
            for depth, place in enumerate(passed.places):
                for scope in self._scopes(place.frame):
                    if not scope.target and self._covers(scope, place, passed.caller or depth > 0):
                        self._terminate(activation, place, scope, floor)
        error.passed = ()

    def _scopes(self, frame: Frame) -> list[Scope]:
        """The scope table of a frame, empty if it has no C handler."""
        native = frame.native
        if native is None or not frame.handler or not self._is_c_handler(native, frame.handler):
            return []
        number, at = native.pe.number, frame.data
        count = number(at, 4)
        rows = (range(at + 4 + 16 * i, at + 20 + 16 * i, 4) for i in range(min(count, 4096)))
        return [Scope(*(number(place, 4) for place in row)) for row in rows]

    def _is_c_handler(self, native: NativeImage, handler: int) -> bool:
        """Whether the handler is the import's jump to `__C_specific_handler`."""
        code = bytes(native.pe.memory[handler : handler + 6])
        if code[:2] != _JUMP:
            return False
        slot = native.image.base + handler + 6 + int.from_bytes(code[2:], "little", signed=True)
        wanted = self.code.exports.address("__C_specific_handler")
        return self.nt.mmu.read_word(slot) == wanted

    @staticmethod
    def _covers(scope: Scope, place: Place, is_return: bool) -> bool:
        """A return address belongs to the call before it."""
        assert place.frame.native is not None
        offset = place.rip - place.frame.native.image.base - is_return
        return scope.begin <= offset < scope.end

    def _filter(
        self,
        activation: Activation,
        error: StructuredException,
        place: Place,
        scope: Scope,
        origin: Place,
    ) -> int:
        """The filter's verdict: 1 handle, 0 go on searching, -1 continue execution.

        The context that it sees is that of `origin`, where the exception came from.
        """
        if scope.handler == EXECUTE_HANDLER:
            return EXECUTE_HANDLER
        assert place.frame.native is not None
        with self.code.below(activation, 0x800, _floor(error)) as room:
            pointers = self._write_record(room, error, origin)
            address = place.frame.native.image.base + scope.handler
            verdict = self.code.call(address, (pointers, place.frame.establisher)) & 0xFFFF_FFFF
            if verdict >> 31 and not activation.in_export and not error.passed:
                self._load_context(activation, self.nt.mmu.read_word(pointers + 8))
        return verdict - (1 << 32) if verdict >> 31 else verdict

    def _load_context(self, activation: Activation, address: int) -> None:
        """The filter asks to go on where the fault was, with what it has changed."""
        context, words = CONTEXT.at(self.nt.mmu, address)._v, activation.words
        for number, name in enumerate(_NAMES):
            words[number] = getattr(context, name)
        words[RIP] = context.Rip

    def _write_record(self, room: int, error: StructuredException, place: Place) -> int:
        """EXCEPTION_POINTERS, record and context on the stack: their address."""
        mmu = self.nt.mmu
        record_va = room + 16
        context_va = -(-(record_va + EXCEPTION_RECORD.size) // 16) * 16
        mmu.write(room, record_va.to_bytes(8, "little") + context_va.to_bytes(8, "little"))
        mmu.write(record_va, bytes(EXCEPTION_RECORD.size))
        record = EXCEPTION_RECORD.at(mmu, record_va)
        record._v.ExceptionCode = error.ExceptionCode
        record._v.ExceptionAddress = error.ExceptionAddress
        record._v.NumberParameters = len(error.ExceptionInformation)
        for i, value in enumerate(error.ExceptionInformation[:15]):
            record.ExceptionInformation[i] = value
        context = CONTEXT.at(mmu, context_va)._v
        for number, name in enumerate(_NAMES):
            setattr(context, name, place.registers[number])
        context.Rip = place.rip
        return room

    def _unwind(
        self, activation: Activation, places: list[Place], target: int, caller: bool
    ) -> None:
        """Run the termination handlers inside the frame that takes the exception."""
        for depth, place in enumerate(places):
            last = depth == len(places) - 1
            for number, scope in enumerate(self._scopes(place.frame)):
                if last and number >= target:
                    break
                if not scope.target and self._covers(scope, place, caller or depth > 0):
                    self._terminate(activation, place, scope)

    def _terminate(
        self, activation: Activation, place: Place, scope: Scope, floor: int | None = None
    ) -> None:
        assert place.frame.native is not None
        address = place.frame.native.image.base + scope.handler
        with self.code.below(activation, 0x80, floor):
            self.code.call(address, (1, place.frame.establisher))

    def _resume(
        self, activation: Activation, place: Place, scope: Scope, error: StructuredException
    ) -> None:
        """Go on at the handler, in the frame that has it."""
        assert place.frame.native is not None
        words = activation.words
        for number, value in enumerate(place.registers):
            words[number] = value
        words[RAX] = error.ExceptionCode
        words[RIP] = place.frame.native.image.base + scope.target



def _floor(error: StructuredException) -> int | None:
    """Where the stack of code that the exception went through ends; None if there is none."""
    return min((passed.stack for passed in error.passed), default=None)
