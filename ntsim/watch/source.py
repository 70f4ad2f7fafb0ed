"""Source lines of driver and app code, by the places that events and frames name."""

from __future__ import annotations

import dis
import linecache
from collections.abc import Collection, Iterator
from pathlib import Path
from types import CodeType

from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.frames import StackFrame


class Sources:
    """Places are `eh.py:120 run_vcpu`, as in the events of one machine; `eh!run_vcpu+0x3c` in
    compiled code, which has no lines."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.paths = {name: path for path, name in reversed(nt.host.files.items())}

    def line(self, place: str) -> str:
        """The stripped text of a place's line; empty if the file cannot be read."""
        name, number, _ = split_place(place)
        path = self.paths.get(name)
        return linecache.getline(path, number).strip() if path else ""

    def place(self, stack: list[StackFrame]) -> str:
        """The place of the innermost driver frame, else app frame; empty if there is neither."""
        frame = self.innermost(stack, user=False) or self.innermost(stack, user=True)
        return frame_place(frame) if frame else ""

    def innermost(self, stack: list[StackFrame], *, user: bool) -> StackFrame | None:
        """The innermost frame of a driver, or of an app."""
        files = self.nt.host.files
        return next((f for f in stack if (f.compiled or f.file in files) and f.user is user), None)

    def routine(self, address: int) -> str:
        """The place where a driver's routine begins; empty if its source is not known."""
        image = self.nt.images.at(address)
        symbol = image.find(address) if image is not None else None
        if symbol is None or symbol.code is None or symbol.file not in self.nt.host.files:
            return ""
        return f"{Path(symbol.file).name}:{symbol.code.co_firstlineno} {symbol.name}"

    def calls(self, place: str, names: Collection[str]) -> list[int]:
        """Lines of the function at a place that refer to one of the global `names`."""
        name, _, function = split_place(place)
        return self.calls_by(function, names, self.paths.get(name))

    def calls_by(self, function: str, names: Collection[str], path: str | None = None) -> list[int]:
        """The same for a function by name, in one file or in any."""
        found = {
            line
            for code in self._codes()
            if code.co_name == function and path in (None, code.co_filename)
            for line in global_references(code, names)
        }
        return sorted(found)

    def _codes(self) -> Iterator[CodeType]:
        for image in self.nt.images.loaded:
            yield from image.slots


def split_place(place: str) -> tuple[str, int, str]:
    """(file, line, function) of `eh.py:120 run_vcpu`; ("", 0, "") where there is no source."""
    left, _, function = place.partition(" ")
    name, _, line = left.rpartition(":")
    return (name, int(line), function) if line.isdecimal() else ("", 0, "")


def frame_place(frame: StackFrame) -> str:
    """`eh.py:120 run_vcpu` of a frame; of compiled code, `eh!run_vcpu+0x3c`."""
    if frame.compiled:
        return frame.call_site
    return f"{Path(frame.file).name}:{frame.line} {frame.symbol}"


def global_references(code: CodeType, names: Collection[str]) -> Iterator[int]:
    """Line numbers at which code loads one of the global names."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval in names:
            line = instruction.positions.lineno if instruction.positions else None
            if line:
                yield line
