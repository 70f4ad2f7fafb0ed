"""Calls of filters and language handlers, and the scope tables of `__C_specific_handler`.

Source: Microsoft, x64 exception handling, "Language-specific handler"; winnt.h,
SCOPE_TABLE_AMD64, DISPATCHER_CONTEXT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.host import context as ctx
from ntsim.host.native_image import NativeImage
from ntsim.host.pe import PeError
from ntsim.host.unwind import Frame
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode

HANDLER_ROOM = 0xB80
"""Bytes below the stack pointer for EXCEPTION_POINTERS, CONTEXT, record, DISPATCHER_CONTEXT."""

_POINTERS, _CONTEXT, _RECORD, _DISPATCHER, _FRAMES_CONTEXT = 0x80, 0x90, 0x560, 0x600, 0x650
_SCOPE_INDEX = _DISPATCHER + ctx.SCOPE_INDEX


@dataclass(frozen=True, slots=True)
class Scope:
    """A guarded range: `target` is 0 for `__finally`, whose code is then `handler`."""

    begin: int
    end: int
    handler: int
    target: int


@dataclass(slots=True)
class Place:
    """Where a frame was executing when the exception came through.

    `first` is the index in its scope table from which handlers have not run yet; `collided` says
    that something was raised while they ran; `nested` that it was being asked about an exception
    when the next one came; `innermost` that the code is at `rip`, which is a return address in all
    other frames.
    """

    rip: int
    registers: list[int]
    frame: Frame
    first: int = 0
    collided: bool = False
    nested: bool = False
    innermost: bool = False

    @property
    def offset(self) -> int:
        assert self.frame.native is not None
        return self.rip - self.frame.native.image.base


def read_scopes(native: NativeImage, at: int) -> list[Scope]:
    """The SCOPE_TABLE at a place of the image; none if it leads out of it."""
    number = native.pe.number
    try:
        count = min(number(at, 4), 4096)
        rows = (range(at + 4 + 16 * i, at + 20 + 16 * i, 4) for i in range(count))
        return [Scope(*(number(place, 4) for place in row)) for row in rows]
    except PeError:
        return []


def left_scopes(
    scopes: list[Scope], first: int, offset: int, target: int
) -> Iterator[tuple[int, Scope]]:
    """The termination handlers that run when code at `offset` is left for `target`.

    `target` is 0 if the whole frame goes. A jump that stays inside a guarded range does not end it.
    """
    for number in range(first, len(scopes)):
        scope = scopes[number]
        if not scope.begin <= offset < scope.end:
            continue
        if target and any(
            each.begin <= target < each.end
            and (each.target, each.handler) == (scope.target, scope.handler)
            for each in scopes
        ):
            return
        if not scope.target:
            yield number, scope
        elif target == scope.target:
            return


class HandlerCall:
    """Calls of filters and language handlers for one exception, with its bytes in `room`.

    All of them see the same record, which is the caller's own if the exception was raised with one:
    what one of them changes in it, the next one sees.
    """

    def __init__(self, code: NativeCode, room: int, error: StructuredException) -> None:
        self.code, self.mmu, self.room, self.error = code, code.nt.mmu, room, error
        self.record = error.record or room + _RECORD
        self.written = self.nested = False

    def _write(self, place: Place, flags: int = 0) -> None:
        """EXCEPTION_POINTERS, record and context on the stack, once; then the flags that change.

        EXCEPTION_NESTED_CALL is there as long as frames are asked that were being asked about
        another exception when this one came. Source: Microsoft's xcpt4 tests, test 27.
        """
        if not self.written:
            self.written = True
            room = self.room
            pair = self.record.to_bytes(8, "little") + (room + _CONTEXT).to_bytes(8, "little")
            self.mmu.write(room + _POINTERS, pair)
            self.mmu.write(room + _CONTEXT, self.error.registers or bytes(ctx.CONTEXT_SIZE))
            self.mmu.write(self.record, ctx.record_bytes(self.error, flags))
        if place.nested != self.nested:
            self.nested = place.nested
            at = self.record + ctx.RECORD_FLAGS
            now = int.from_bytes(self.mmu.read(at, 4), "little") & ~ctx.NESTED_CALL
            self.mmu.write(at, (now | self.nested * ctx.NESTED_CALL).to_bytes(4, "little"))

    def finish(self) -> None:
        """Take what the handlers have made of the record into the exception."""
        if self.written:
            ctx.refresh(self.error, self.mmu.read(self.record, ctx.RECORD_SIZE))

    def context(self) -> bytes:
        """The context as the handlers have left it."""
        return self.mmu.read(self.room + _CONTEXT, ctx.CONTEXT_SIZE)

    def filter(self, place: Place, scope: Scope) -> int:
        """The filter's verdict: 1 handle, 0 go on searching, -1 continue execution."""
        self._write(place)
        assert place.frame.native is not None
        address = place.frame.native.image.base + scope.handler
        return signed(self.code.call(address, (self.room + _POINTERS, place.frame.establisher)))

    def handler(self, place: Place, flags: int, scope: int, target: int = 0) -> int:
        """Call the language handler of a frame: its disposition.

        Its DISPATCHER_CONTEXT has the registers of the frame's caller while it is asked, of the
        frame itself while it cleans up. Source: Wine, dlls/ntdll (unwind.c, signal_x86_64.c).
        """
        frame, room = place.frame, self.room
        assert frame.native is not None
        mine = ctx.context_bytes(place.registers, place.rip)
        if flags:
            self.error.registers = self.error.registers or bytes(mine)
        else:
            mine = ctx.context_bytes(frame.registers, frame.rip)
        self._write(place, flags)
        self.mmu.write(room + _FRAMES_CONTEXT, bytes(mine))
        base = frame.native.image.base
        data_va, function = base + frame.data, frame.native.entry_of(frame.function)
        handler = base + frame.handler
        self.mmu.write(
            room + _DISPATCHER,
            ctx.dispatcher_bytes(
                place.rip, base, function, frame.establisher, target, room + _FRAMES_CONTEXT,
                handler, data_va, scope,
            ),
        )  # fmt: skip
        context = room + (_FRAMES_CONTEXT if flags else _CONTEXT)
        pointers = (self.record, frame.establisher, context, room + _DISPATCHER)
        try:
            return signed(self.code.call(handler, pointers))
        finally:
            if flags:  # what it has cleaned up, should something be raised out of it
                place.first = int.from_bytes(self.mmu.read(room + _SCOPE_INDEX, 4), "little")


def signed(value: int) -> int:
    """A LONG out of RAX."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value
