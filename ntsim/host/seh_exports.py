"""The exports of structured exception handling: what `__GSHandlerCheck_SEH`, hypervisors and stack
walkers call.

`RtlUnwindEx` never returns, `RtlRestoreContext` goes on in the registers that it is given, and
`__C_specific_handler` is what language handlers of compiled code end in. Source: WDK and Win32
documentation of each; winnt.h, DISPATCHER_CONTEXT; Microsoft, x64 exception handling.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from ntsim.host import context as ctx
from ntsim.host import jump
from ntsim.host.abi_x64 import RAX, RFLAGS, RIP, RSP
from ntsim.host.handler_call import left_scopes, read_scopes, signed
from ntsim.host.native_image import NativeImage
from ntsim.host.pe import RuntimeFunction
from ntsim.host.seh import (
    STATUS_LONGJUMP,
    STATUS_UNWIND,
    STATUS_UNWIND_CONSOLIDATE,
    ContextRestored,
    UnwindThrough,
)
from ntsim.host.unwind import WORDS, XMM, unwind
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode

CONTINUE_EXECUTION, CONTINUE_SEARCH = 0, 1
_LOW = 0xFFFF_FFFF


class SehExports:
    """For one machine; `routines` says how many arguments each takes."""

    def __init__(self, code: NativeCode) -> None:
        self.code, self.nt = code, code.nt
        self.routines: dict[str, tuple[Callable[..., int | None], int]] = {
            "RtlCaptureContext": (self.capture_context, 1),
            "RtlRestoreContext": (self.restore_context, 2),
            "RtlLookupFunctionEntry": (self.lookup_function_entry, 3),
            "RtlVirtualUnwind": (self.virtual_unwind, 8),
            "RtlUnwind": (self.unwind, 4),
            "RtlUnwindEx": (self.unwind, 6),
            "_local_unwind": (self.local_unwind, 2),
            "RtlPcToFileHeader": (self.pc_to_file_header, 2),
            "RtlRaiseException": (self.raise_exception, 1),
            "__C_specific_handler": (self.c_specific_handler, 4),
            "_setjmp": (self.setjmp, 2),
            "_setjmpex": (self.setjmp, 2),
            "longjmp": (self.longjmp, 2),
        }

    @property
    def _words(self) -> Any:
        return self.code.calls.activation.words

    def capture_context(self, context: int) -> None:
        """The caller's registers, as they are when the call has returned."""
        words = list(self._words[0:WORDS])
        rip = self.nt.mmu.read_word(words[RSP])
        words[RSP] += 8
        processor = self.nt.il.current
        words[RFLAGS] = words[RFLAGS] & ~0x200 | processor.rflags & 0x200
        self.nt.mmu.write(context, bytes(ctx.context_bytes(words, rip)))

    def restore_context(self, context: int, record: int) -> None:
        """Go on in the registers of a CONTEXT, or where a record of longjmp or C++ says."""
        mmu, activation = self.nt.mmu, self.code.calls.activation
        data, rip = mmu.read(context, ctx.CONTEXT_SIZE), None
        error = ctx.read_record(mmu, record) if record else StructuredException(0)
        information = error.ExceptionInformation
        if error.ExceptionCode == STATUS_UNWIND_CONSOLIDATE and information:
            with self.code.below(activation, 0x80):
                rip = self.code.call(information[0], (record,))
        self.code.dispatcher.load(activation, data)
        if rip is not None:
            activation.words[RIP] = rip
        if error.ExceptionCode == STATUS_LONGJUMP and information:
            jump.load_buffer(mmu, information[0], activation.words)
        raise ContextRestored

    def lookup_function_entry(self, control: int, image_base: int, history: int) -> int:
        """Address of the RUNTIME_FUNCTION for `control`; 0 for a leaf function."""
        native = self.code.image_at(control)
        base = native.image.base if native is not None else self._base_of(control)
        self.nt.mmu.write_word(image_base, base)
        function = native.function_at(control) if native is not None else None
        return native.entry_of(function) if native is not None and function is not None else 0

    def _base_of(self, address: int) -> int:
        image = self.nt.images.at(address)
        return image.base if image is not None else 0

    def pc_to_file_header(self, address: int, image_base: int) -> int:
        """Base of the image that an address lies in, 0 if it is in none."""
        base = self._base_of(address)
        self.nt.mmu.write_word(image_base, base)
        return base

    def virtual_unwind(
        self, kind: int, base: int, control: int, entry: int, context: int, handler_data: int,
        establisher: int, pointers: int,
    ) -> int:  # fmt: skip
        """One frame up in a CONTEXT: address of the frame's handler of this kind, or 0."""
        mmu = self.nt.mmu
        data = bytearray(mmu.read(context, ctx.CONTEXT_SIZE))
        words = [0] * WORDS
        ctx.load_context(bytes(data[:0x30] + struct.pack("<I", ctx.ALL) + data[0x34:]), words)
        native = self.code.image_at(base)
        function = RuntimeFunction(*struct.unpack("<III", mmu.read(entry, 12))) if entry else None
        frame = unwind(native if entry else None, control, words, mmu.read_word, function)
        struct.pack_into("<16Q", data, 0x78, *frame.registers[0:16])
        struct.pack_into("<Q", data, 0xF8, frame.rip)
        struct.pack_into("<32Q", data, 0x1A0, *frame.registers[XMM : XMM + 32])
        mmu.write(context, bytes(data))
        mmu.write_word(establisher, frame.establisher)
        if pointers:
            for register, place in frame.saved.items():
                slot = register + 16 if register < 16 else (register - XMM) // 2
                mmu.write_word(pointers + 8 * slot, place)
        if not frame.handler or not frame.flags & kind:
            return 0
        mmu.write_word(handler_data, base + frame.data)
        return base + frame.handler

    def unwind(
        self, target: int, rip: int, record: int, value: int, context: int = 0, history: int = 0
    ) -> None:
        """Run the termination handlers up to the frame `target` and go on there, at `rip`."""
        error = (
            ctx.read_record(self.nt.mmu, record) if record else StructuredException(STATUS_UNWIND)
        )
        self._unwind(target, rip, value, error, record)

    def _unwind(
        self, target: int, rip: int, value: int, error: StructuredException, record: int = 0
    ) -> NoReturn:
        """STATUS_INVALID_UNWIND_TARGET if no compiled code of this thread has such a frame."""
        if not self.code.has_frame(target):
            self.code.dispatcher.no_frame(target, self.nt.mmu.read_word(self._words[RSP]))
        raise UnwindThrough(target, rip, value, error, record)

    def local_unwind(self, target: int, rip: int) -> None:
        """What a `return` or `goto` out of a `__finally` block calls."""
        self._unwind(target, rip, 0, StructuredException(STATUS_UNWIND))

    def setjmp(self, buffer: int, frame: int) -> int:
        """Note the caller's registers; its frame too, which the compiler passes."""
        words = list(self._words[0:WORDS])
        rip = self.nt.mmu.read_word(words[RSP])
        words[RSP] += 8
        self.nt.mmu.write(buffer, jump.buffer_bytes(words, rip))
        return 0

    def longjmp(self, buffer: int, value: int) -> None:
        """Go on behind the setjmp, which returns `value`, 1 instead of 0."""
        value = value & _LOW or 1
        frame, rip = jump.frame_of(self.nt.mmu, buffer)
        if frame:
            self._unwind(frame, rip, value, StructuredException(STATUS_LONGJUMP, (buffer,)))
        words = self._words
        jump.load_buffer(self.nt.mmu, buffer, words)
        words[RAX] = value
        raise ContextRestored

    def raise_exception(self, record: int) -> None:
        """Raise the exception that a record describes, at the caller."""
        made = ctx.read_record(self.nt.mmu, record)
        made.ExceptionAddress = self.nt.mmu.read_word(self._words[RSP])
        self.nt.raise_exception(made)

    def c_specific_handler(self, record: int, frame: int, context: int, dispatcher: int) -> int:
        """Walk the scope table of the frame that a DISPATCHER_CONTEXT describes."""
        mmu = self.nt.mmu
        error = ctx.read_record(mmu, record)
        words = struct.unpack("<9QII", mmu.read(dispatcher, ctx.DISPATCHER_SIZE))
        control, base, target, data, first = words[0], words[1], words[4], words[7], words[9]
        native = self.code.image_at(base)
        if native is None:
            return CONTINUE_SEARCH
        if error.ExceptionFlags & ctx.UNWIND:
            aim = target - base if error.ExceptionFlags & ctx.TARGET_UNWIND else 0
            scopes = read_scopes(native, data - base)
            for number, scope in left_scopes(scopes, first, control - base, aim):
                mmu.write(dispatcher + 0x48, (number + 1).to_bytes(4, "little"))
                self.code.call(base + scope.handler, (1, frame))
            return CONTINUE_SEARCH
        return self._ask(native, data, first, control, frame, (record, context), error)

    def _ask(
        self, native: NativeImage, data: int, first: int, control: int, frame: int,
        pointers: tuple[int, int], error: Any,
    ) -> int:  # fmt: skip
        """The filters of one frame."""
        base, offset = native.image.base, control - native.image.base
        with self.code.below(self.code.calls.activation, 0x80) as room:
            self.nt.mmu.write(room, struct.pack("<QQ", *pointers))
            for scope in read_scopes(native, data - base)[first:]:
                if not scope.begin <= offset < scope.end or not scope.target:
                    continue
                verdict = 1
                if scope.handler != 1:
                    verdict = signed(self.code.call(base + scope.handler, (room, frame)))
                if verdict < 0:
                    return CONTINUE_EXECUTION
                if verdict > 0:
                    code = error.ExceptionCode & _LOW
                    raise UnwindThrough(frame, base + scope.target, code, error, pointers[0])
        return CONTINUE_SEARCH


assert RIP == RFLAGS + 1
