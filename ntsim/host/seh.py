"""Structured exception handling of compiled code: `__try`, `__except`, `__finally`.

An exception is dispatched over the frames of the code it was raised in: handlers are asked from the
inside out, then termination handlers run up to the frame that takes it, and the code goes on there.
The scope tables of `__C_specific_handler` are read here; any other language handler of an image
(`__GSHandlerCheck_SEH`, one written in assembly) is called as Windows calls it. Source: Microsoft,
x64 exception handling; winnt.h, SCOPE_TABLE_AMD64.

Between compiled code and compiled code there may be the kernel's Python: then an exception passes
through the inner code first, whose termination handlers run when the outer code has taken it.

Filters and termination handlers are compiled code that this module calls. An exception that leaves
one is a new one for the frames that were being looked at: out of a filter for all of them (nested),
out of a termination handler for those that have not been cleaned up yet (a collided unwind).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from ntsim.errors import Hang, UnmodelledRoutine
from ntsim.host import context as ctx
from ntsim.host import jump
from ntsim.host.abi_x64 import RAX, RFLAGS, RIP, RSP, Activation
from ntsim.host.handler_call import (
    HANDLER_ROOM,
    HandlerCall,
    Place,
    Scope,
    left_scopes,
    read_scopes,
)
from ntsim.host.native_image import NativeImage
from ntsim.host.unwind import EXCEPTION_HANDLER, TERMINATION_HANDLER, WORDS, unwind
from ntsim.hw.cpu import RFLAGS_IF
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode

EXECUTE_HANDLER, CONTINUE_SEARCH = 1, 0
CONTINUE_EXECUTION = -1
EXCEPTION_CONTINUE_EXECUTION = 0
"""Of EXCEPTION_DISPOSITION, what a language handler returns."""

CONTINUE_SEARCH_DISPOSITION, NESTED_DISPOSITION, COLLIDED_DISPOSITION = 1, 2, 3
STATUS_NONCONTINUABLE_EXCEPTION, STATUS_UNWIND = 0xC000_0025, 0xC000_0027
STATUS_INVALID_DISPOSITION, STATUS_INVALID_UNWIND_TARGET = 0xC000_0026, 0xC000_0029
STATUS_LONGJUMP, STATUS_UNWIND_CONSOLIDATE = 0x8000_0026, 0x8000_0029
_DEEPEST = 0x1800
"""Frames: more than fit on a kernel stack."""

REPETITIONS = 2_000
"""Of one exception that nothing is done about."""
_JUMP = b"\xff\x25"
_NOT_RESUMED = 1 << 8 | 1 << 10 | 1 << 16
"""TF, DF and RF of the code that an exception interrupted."""


class UnwindThrough(BaseException):
    """RtlUnwindEx on its way to a frame that lies further out."""

    def __init__(
        self, target: int, rip: int, value: int, error: StructuredException, record: int = 0
    ) -> None:
        """`record` is the address of what describes `error`, 0 if the caller has given none."""
        super().__init__(target, rip, value)
        self.target, self.rip, self.value = target, rip, value
        self.error, self.record = error, record


class ContextRestored(BaseException):
    """An export has replaced its caller's registers: nothing returns."""


@dataclass(slots=True)
class Walk:
    """The frames that an exception concerns, innermost first; those before `mine` belong to code
    whose caller in the kernel it has already left. The stack from `floor` upwards is in use.
    `asked` is the index of the frame whose handlers are being asked."""

    places: list[Place]
    mine: int
    floor: int
    asked: int = -1


@dataclass(slots=True)
class Passed:
    """Compiled code that an exception went through unhandled."""

    places: list[Place] = field(default_factory=list)
    floor: int = 1 << 64


class _NoStack(Exception):
    """A frame lies where there is no memory."""


class Dispatcher:
    """Dispatches exceptions over one machine's compiled code."""

    def __init__(self, code: NativeCode) -> None:
        self.code, self.nt = code, code.nt
        self._last: object = None
        self._repeated = 0

    def places(self, activation: Activation) -> list[Place]:
        """The frames of an activation, innermost first."""
        words = activation.words
        registers, rip = list(words[0:WORDS]), words[RIP]
        read: Callable[[int], int] = self.nt.mmu.read_word
        if activation.in_export:
            rip = read(registers[RSP])
            registers[RSP] += 8
        found: list[Place] = []
        while rip != self.code.exports.return_address and len(found) < _DEEPEST:
            native = self.code.image_at(rip)
            if native is None and found and self.code.exports.number_at(rip) < 0:
                break
            if self.nt.mmu.probe(registers[RSP]) is None:
                read = self._read_if_there
            try:
                frame = unwind(native, rip, registers, read)
            except _NoStack:
                break
            innermost = not found and not activation.in_export
            found.append(Place(rip, registers, frame, innermost=innermost))
            rip, registers = frame.rip, frame.registers
        return found

    def _read_if_there(self, address: int) -> int:
        """A word of a stack whose pointer has left it: after an overrun that is in the guard page,
        and what has been saved lies above. _NoStack where there is no memory."""
        mmu = self.nt.mmu
        if mmu.probe(address) is None or mmu.probe(address + 7) is None:
            raise _NoStack
        return mmu.read_word(address)

    def dispatch(self, activation: Activation, error: StructuredException | UnwindThrough) -> bool:
        """Let the activation's frames have the exception; False if it goes further out."""
        places = self.places(activation)
        if isinstance(error, UnwindThrough):
            return self.unwind_ex(activation, Walk(places, 0, activation.words[RSP]), error)
        if places and error.registers is None:
            words, enabled = list(places[0].registers), self.nt.il.current.rflags & RFLAGS_IF
            words[RFLAGS] = words[RFLAGS] & ~RFLAGS_IF | enabled
            error.registers = bytes(ctx.context_bytes(words, places[0].rip))
        walk = self._walk(error, places, activation.words[RSP])
        while True:
            try:
                return self._search(activation, walk, error)
            except StructuredException as nested:
                if nested.registers is None:
                    nested.registers = error.registers
                self._note_nested(walk)
                error = nested  # the frames of the kernel's own dispatching stay on the stack
                walk = self._walk(nested, walk.places, walk.floor - HANDLER_ROOM)
            except UnwindThrough as unwinding:
                return self.unwind_ex(activation, walk, unwinding)

    @staticmethod
    def _walk(error: StructuredException, places: list[Place], floor: int) -> Walk:
        """The frames for `error`: those it has passed, then `places`."""
        passed = error.passed or Passed()
        return Walk([*passed.places, *places], len(passed.places), min(floor, passed.floor))

    @staticmethod
    def _note_nested(walk: Walk) -> None:
        """The frames that were being asked when the next exception came out of a handler."""
        for place in walk.places[: walk.asked + 1]:
            place.nested = True

    def _search(self, activation: Activation, walk: Walk, error: StructuredException) -> bool:
        """Ask every handler; unwind to the one that takes the exception."""
        verdict, target = self._ask(activation, walk, error)
        if verdict == CONTINUE_EXECUTION:
            return True
        if target is None:
            error.passed = Passed(walk.places, walk.floor)
            return False
        place = walk.places[verdict]
        assert place.frame.native is not None
        rip = place.frame.native.image.base + target
        self._unwind(activation, walk, verdict, rip, error)
        self._resume(activation, place, rip, error.ExceptionCode)
        return True

    # First pass: who takes it

    def _ask(
        self, activation: Activation, walk: Walk, error: StructuredException
    ) -> tuple[int, int | None]:
        """(index of the frame that takes the exception, place of its handler in the image).

        (CONTINUE_EXECUTION, None) if the code is to go on where it was; (0, None) if nobody does.
        """
        with self.code.below(activation, HANDLER_ROOM, walk.floor) as room:
            call = HandlerCall(self.code, room, error)
            for index in range(walk.mine, len(walk.places)):
                place, walk.asked = walk.places[index], index
                for scope in self.scopes_of(place, EXCEPTION_HANDLER):
                    if not scope.target:
                        continue
                    verdict = EXECUTE_HANDLER
                    if scope.handler != EXECUTE_HANDLER:
                        verdict = call.filter(place, scope)
                    if verdict > 0:
                        call.finish()
                        return index, scope.target
                    if verdict < 0:
                        self._go_on(activation, walk, call)
                        return CONTINUE_EXECUTION, None
                if self._is_foreign(place, EXCEPTION_HANDLER):
                    disposition = call.handler(place, 0, place.first)
                    if disposition == EXCEPTION_CONTINUE_EXECUTION:
                        self._go_on(activation, walk, call)
                        return CONTINUE_EXECUTION, None
                    if disposition not in (CONTINUE_SEARCH_DISPOSITION, NESTED_DISPOSITION):
                        raise self._noncontinuable(
                            STATUS_INVALID_DISPOSITION, walk, call,
                            f"a language handler returned {disposition}",
                        )  # fmt: skip
            call.finish()
        return 0, None

    def _go_on(self, activation: Activation, walk: Walk, call: HandlerCall) -> None:
        """Go on where the exception was, with what the handlers have changed in the context."""
        call.finish()
        if call.error.ExceptionFlags & ctx.NONCONTINUABLE:
            what = "a filter wants to go on after an exception that cannot be continued"
            raise self._noncontinuable(STATUS_NONCONTINUABLE_EXCEPTION, walk, call, what)
        if walk.mine:
            what = "EXCEPTION_CONTINUE_EXECUTION"
            why = "the exception has already left the kernel routine that the code was called from"
            self.nt.fail(UnmodelledRoutine(what, why))
        self.load(activation, call.context())
        self._note_repetition(activation, call.error)

    def _note_repetition(self, activation: Activation, error: StructuredException) -> None:
        """A filter that goes on with no register changed, so that the same exception comes again
        and again: nothing but another thread could end that, and the run does, as a hang."""
        nt = self.nt
        what = error.ExceptionCode, error.ExceptionInformation, tuple(activation.words)
        if what != self._last:
            self._last, self._repeated = what, 0
            return
        self._repeated += 1
        if self._repeated >= REPETITIONS and nt.il.current.interrupts_enabled:
            place = nt.describe_address(activation.words[RIP])
            text = f"exception {error.ExceptionCode:#x} at {place} came {REPETITIONS:,} times"
            nt.fail(Hang((), f"{text}: the filter goes on where it was and changes nothing"))

    def no_frame(self, target: int, caller: int) -> NoReturn:
        """What RtlUnwindEx raises where the stack has no such frame, or no longer has it."""
        text = f"RtlUnwindEx: no frame of this thread is at {target:#x}"
        made = StructuredException(STATUS_INVALID_UNWIND_TARGET, (), caller, text)
        made.ExceptionFlags = ctx.NONCONTINUABLE
        self.nt.raise_exception(made)

    @staticmethod
    def _noncontinuable(
        code: int, walk: Walk, call: HandlerCall, reason: str
    ) -> StructuredException:
        """What the kernel's own dispatching raises about the exception of `call`."""
        error, walk.asked = call.error, -1
        made = StructuredException(code, (), error.ExceptionAddress, reason)
        made.ExceptionFlags, made.stack = ctx.NONCONTINUABLE, error.stack
        made.ExceptionRecord = call.record
        return made

    def load(self, activation: Activation, data: bytes) -> None:
        """Registers from a CONTEXT; the interrupt flag is the processor's."""
        ctx.load_context(data, activation.words)
        self.code.flags_loaded(activation.words)

    def scopes_of(self, place: Place, kind: int) -> Iterator[Scope]:
        """The scopes of a frame with a C handler that cover where it was, from `first` on."""
        frame = place.frame
        if not frame.flags & kind or not frame.handler or frame.native is None:
            return
        if not self._is_c_handler(frame.native, frame.handler):
            return
        scopes, offset = read_scopes(frame.native, frame.data), place.offset
        for scope in scopes[place.first :]:
            if scope.begin <= offset < scope.end:
                yield scope

    def _is_foreign(self, place: Place, kind: int) -> bool:
        """Whether a frame has a language handler of the image's own."""
        frame = place.frame
        if not frame.flags & kind or not frame.handler or frame.native is None:
            return False
        return not self._is_c_handler(frame.native, frame.handler)

    def _is_c_handler(self, native: NativeImage, handler: int) -> bool:
        """Whether the handler is the import's jump to `__C_specific_handler`."""
        code = bytes(native.pe.memory[handler : handler + 6])
        if code[:2] != _JUMP:
            return False
        slot = native.image.base + handler + 6 + int.from_bytes(code[2:], "little", signed=True)
        wanted = self.code.exports.address("__C_specific_handler")
        return self.nt.mmu.read_word(slot) == wanted

    # Second pass: clean up

    def unwind_ex(self, activation: Activation, walk: Walk, unwinding: UnwindThrough) -> bool:
        """RtlUnwindEx over the frames of an activation; False if its target lies further out."""
        target = next(
            (i for i, p in enumerate(walk.places) if p.frame.establisher == unwinding.target), None
        )
        error = unwinding.error
        last = len(walk.places) - 1 if target is None else target
        try:
            self._unwind(activation, walk, last, unwinding.rip, error, target is not None)
            if target is None:
                return False
            self._land(activation, walk, target, unwinding)
        except UnwindThrough as collided:
            return self.unwind_ex(activation, walk, collided)
        except StructuredException as nested:
            return self.dispatch_rest(activation, walk, nested)
        return True

    def _land(
        self, activation: Activation, walk: Walk, target: int, unwinding: UnwindThrough
    ) -> None:
        """Go on in the target's frame, as RtlRestoreContext does with the exception's record.

        A longjmp goes on with the registers of its buffer. C++ asks for a call that says where to
        go on (a catch block, as a rule): it runs while the frames further in are still there.
        Source: Win32, RtlRestoreContext.
        """
        place, rip, error = walk.places[target], unwinding.rip, unwinding.error
        information = error.ExceptionInformation
        if error.ExceptionCode == STATUS_UNWIND_CONSOLIDATE and information:
            walk.places, walk.mine = walk.places[target:], max(0, walk.mine - target)
            with self.code.below(activation, 0x80, walk.floor):
                rip = self.code.call(information[0], (unwinding.record,))
        self._resume(activation, place, rip, unwinding.value)
        if error.ExceptionCode == STATUS_LONGJUMP and information:
            jump.load_buffer(self.nt.mmu, information[0], activation.words)

    def dispatch_rest(self, activation: Activation, walk: Walk, error: StructuredException) -> bool:
        """An exception out of a termination handler: for the frames that are left."""
        self._note_nested(walk)
        walk = self._walk(error, walk.places, walk.floor - HANDLER_ROOM)
        try:
            return self._search(activation, walk, error)
        except StructuredException as nested:
            return self.dispatch_rest(activation, walk, nested)
        except UnwindThrough as unwinding:
            return self.unwind_ex(activation, walk, unwinding)

    def _unwind(
        self,
        activation: Activation,
        walk: Walk,
        target: int,
        rip: int,
        error: StructuredException,
        is_target: bool = True,
    ) -> None:
        """Run the termination handlers from the inside out, in the target's frame up to `rip`.

        What has been cleaned up leaves the walk, so that an exception out of a handler finds what
        is left; the walk is whole again only if none does.
        """
        places = walk.places
        rest, mine = list(places), walk.mine
        walk.asked = -1
        for index, place in enumerate(places[: target + 1]):
            walk.places, walk.mine = rest[index:], max(0, mine - index)
            if place.nested:  # what dispatched the earlier exception is further in than this
                for each in walk.places:
                    each.nested = False
            last = is_target and index == target
            if self._is_foreign(place, TERMINATION_HANDLER):
                flags = ctx.UNWINDING | (ctx.TARGET_UNWIND if last else 0)
                flags |= ctx.COLLIDED_UNWIND if place.collided else 0
                place.collided = True  # if something is raised out of it
                with self.code.below(activation, HANDLER_ROOM, walk.floor) as room:
                    call = HandlerCall(self.code, room, error)
                    disposition = call.handler(place, flags, place.first, rip)
                if disposition not in (CONTINUE_SEARCH_DISPOSITION, COLLIDED_DISPOSITION):
                    raise self._noncontinuable(
                        STATUS_INVALID_DISPOSITION, walk, call,
                        f"a language handler returned {disposition} when it was to clean up",
                    )  # fmt: skip
            elif place.frame.flags & TERMINATION_HANDLER:
                self._clean_up(activation, walk, place, rip if last else 0)
        walk.places, walk.mine = rest, mine

    def _clean_up(self, activation: Activation, walk: Walk, place: Place, rip: int) -> None:
        """The `__finally` blocks of one frame; `rip` is where it goes on, 0 if it does not."""
        frame = place.frame
        assert frame.native is not None
        if not self._is_c_handler(frame.native, frame.handler):
            return
        base = frame.native.image.base
        for number, scope in left_scopes(
            read_scopes(frame.native, frame.data), place.first, place.offset, rip and rip - base
        ):
            place.first = number + 1
            with self.code.below(activation, 0x80, walk.floor):
                self.code.call(base + scope.handler, (1, frame.establisher))

    def _resume(self, activation: Activation, place: Place, rip: int, value: int) -> None:
        """Go on at `rip` in the frame of `place`."""
        words = activation.words
        for number, each in enumerate(place.registers):
            if number not in (RFLAGS, RIP):
                words[number] = each
        words[RAX], words[RIP] = value, rip
        words[RFLAGS] &= ~_NOT_RESUMED  # RtlUnwindEx goes on with its own flags
