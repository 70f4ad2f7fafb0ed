"""Stack frames: which routines are on a stack, by the names a debugger would print.

Python frames of three kinds count: kernel routines (exports, and private helpers, whose snake-case
names become NT's: `iop_load_driver` is nt!IopLoadDriver), code of loaded drivers, and user-mode
modules. Everything else is simulation and leaves no frame.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import CodeType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

from ntsim.hw.interleave import MachineGreenlet
from ntsim.nt.exports import EXPORTS
from ntsim.nt.mm.images import BYTES_PER_LINE, code_size, line_offset

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.mm.images import Image

_NT_PREFIXES = (
    "ki_ ke_ kx_ kd_ kdp_ ex_ exp_ mi_ mm_ ob_ obp_ io_ iop_ ps_ psp_ cm_ cmp_ rtl_ rtlp_ se_ "
    "sep_ cc_ vf_ vi_ hal_ halp_ po_ pop_ pnp_ pip_ etw_ wmi_ dbg_"
).split()
_CAMEL = {
    "io": "Io", "ki": "Ki", "apc": "Apc", "dpc": "Dpc", "irp": "Irp", "ipi": "Ipi", "irql": "Irql",
}  # fmt: skip
HOME_SPACE = 0x28
MOST_LOCALS = 24
COMPILED = "run_compiled"
"""The host's function that runs compiled code: its frame stands for that code's frames."""


@dataclass(slots=True)
class StackFrame:
    """One frame: where it is executing, and what the debugger prints for it.

    `address` is the instruction pointer in the frame, `arguments` its first four arguments, `user`
    whether it is user-mode code; `child_sp` and `return_address` are filled in when a whole stack
    is laid out. Frames of `compiled` code lie where they lie: those two are known, and the
    innermost has the bytes of a CONTEXT.
    """

    image: Image
    symbol: str
    address: int
    offset: int
    file: str
    line: int
    arguments: tuple[int, ...]
    user: bool
    size: int
    child_sp: int = 0
    return_address: int = 0
    compiled: bool = False
    registers: bytes = b""

    @property
    def call_site(self) -> str:
        """`eh!run_vcpu+0x3c`; the bare address where no image is."""
        if self.symbol.startswith("0x"):
            return f"0x{self.address >> 32:08x}`{self.address & 0xFFFF_FFFF:08x}"
        offset = f"+{self.offset:#x}" if self.offset else ""
        return f"{self.image.module_name}!{self.symbol}{offset}"


@cache
def nt_symbol_name(name: str) -> str | None:
    """NT's spelling of a kernel function's Python name; None if it is not a kernel routine."""
    if name[:1].isupper():
        return name
    if name.startswith(tuple(_NT_PREFIXES)):
        return "".join(_CAMEL.get(part, part.capitalize()) for part in name.split("_"))
    return None


def is_inline(name: str) -> bool:
    """Whether the WDK's headers expand the routine in the caller: it has no frame then."""
    found = EXPORTS.get(name)
    return found is not None and found.inline


def frames_from(frame: FrameType | None, stack: greenlet | None = None) -> Iterator[FrameType]:
    """Frames from `frame` outwards, across host stacks that a saved stack put on top of another.

    `stack` is the greenlet that `frame` is on, the running one by default.
    """
    below: Any = stack or getcurrent()
    while True:
        while frame is not None:
            yield frame
            frame = frame.f_back
        below = below.parent
        if not isinstance(below, MachineGreenlet):
            return
        frame = below.gr_frame


def describe_frames(nt: Kernel, frame: FrameType, line: int) -> list[StackFrame]:
    """The StackFrames that a Python frame stands for: one, none, or those of compiled code."""
    if frame.f_code.co_name == COMPILED:
        return nt.host.compiled_frames(frame)
    found = describe_frame(nt, frame, line)
    return [] if found is None else [found]


def describe_frame(nt: Kernel, frame: FrameType, line: int) -> StackFrame | None:
    """The StackFrame of a Python frame, None if it is none of the three kinds."""
    code = frame.f_code
    module = frame.f_globals.get("__name__", "")
    if module.startswith("ntsim.nt."):
        name = nt_symbol_name(code.co_name)
        if name is None or is_inline(name):
            return None
        return _make(nt.nt_image, code, name, frame, line, False)
    found = nt.host.locate(frame)
    if found is None:
        return None
    image, name, user = found
    return _make(image, code, name, frame, line, user)


def _make(
    image: Image, code: Any, name: str, frame: FrameType, line: int, user: bool
) -> StackFrame:
    symbol = image.slot_of(code, name)
    fixed = image.addresses.get(code)
    offset = (fixed - symbol.address) if fixed is not None else line_offset(code, line)
    size = frame_size(code)
    arguments = tuple(_arguments(frame))
    file = "" if image.module_name in ("nt", "hal") else code.co_filename
    return StackFrame(
        image, symbol.name, symbol.address + offset, offset, file, line, arguments, user, size
    )


def frame_size(code: CodeType) -> int:
    """Bytes of stack that a call takes: more for longer code, the same in every Python version."""
    lines = code_size(code) // BYTES_PER_LINE
    return -(-(HOME_SPACE + 8 * (code.co_argcount + min(lines, MOST_LOCALS))) // 16) * 16


def _arguments(frame: FrameType) -> Iterator[int]:
    """The first four arguments as the debugger's four columns: ints as they are, else 0."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount]
    held = frame.f_locals
    values = [held.get(name) for name in names]
    if frame.f_globals.get("__name__", "").startswith("ntsim.nt."):
        values = values[1:]
    flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
    for value in (flat + [0] * 4)[:4]:
        yield int(value) & 0xFFFF_FFFF_FFFF_FFFF if isinstance(value, int) else 0


def capture(
    nt: Kernel, frame: FrameType | None = None, stack: greenlet | None = None
) -> list[StackFrame]:
    """The stack of the running code, innermost first, or from `frame` (on `stack`) outwards."""
    start = frame or sys._getframe(1)
    return [d for f in frames_from(start, stack) for d in describe_frames(nt, f, f.f_lineno)]


def capture_traceback(nt: Kernel, traceback: TracebackType | None) -> list[StackFrame]:
    """The stack where an exception was raised: traceback frames, then their callers."""
    steps = []
    step = traceback
    while step is not None:
        steps.append(step)
        step = step.tb_next
    inner = [d for s in reversed(steps) for d in describe_frames(nt, s.tb_frame, s.tb_lineno)]
    outer = steps[0].tb_frame.f_back if steps else None
    return inner + (capture(nt, outer) if outer else [])


def instruction_pointer(nt: Kernel) -> StackFrame | None:
    """The innermost frame that has an address: what RIP is to the kernel."""
    for frame in frames_from(sys._getframe(1)):
        for found in describe_frames(nt, frame, frame.f_lineno):
            if not found.symbol.startswith(("Ki", "Mm", "Mi")):
                return found
    return None


def source_line(nt: Kernel) -> str:
    """`eh.py:120 run_vcpu` of the innermost driver or app frame; empty if there is none."""
    files = nt.host.files
    frame: FrameType | None = sys._getframe(2)
    below: Any = getcurrent()
    while frame is not None:
        code = frame.f_code
        name = files.get(code.co_filename)
        if name is not None:
            return f"{name}:{frame.f_lineno} {code.co_name}"
        if code.co_name == COMPILED:
            return nt.host.compiled_place(frame)
        frame = frame.f_back
        while frame is None and isinstance(below := below.parent, MachineGreenlet):
            frame = below.gr_frame
    return ""
