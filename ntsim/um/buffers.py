"""Python arguments as buffers in user memory, and back.

Input is bytes-like, None, or `(address, length)` of memory that the app itself manages. Output is a
size (the caller gets bytes), a writable buffer (filled with whatever arrived), or `(address,
length)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.host.current import caller_error

if TYPE_CHECKING:
    from ntsim.um.thread import UserThread

MASK32, MASK64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF


def is_raw(value: Any) -> bool:
    """Whether an argument is `(address, length)`."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(part, int) for part in value)
    )


def input_bytes(value: Any, where: str) -> bytes:
    """The bytes of a bytes-like input."""
    if value is None:
        return b""
    if isinstance(value, str):
        raise caller_error(f"{where}: text has no bytes yet, use {value!r}.encode()")
    try:
        return bytes(memoryview(value))
    except TypeError:
        text = f"{where} is bytes-like, None or (address, length), not {value!r}"
        raise caller_error(text) from None


def output_view(value: Any, where: str) -> memoryview:
    """A writable byte view of an output buffer."""
    try:
        view = memoryview(value).cast("B")
    except TypeError:
        text = f"{where} is a size, a writable buffer or (address, length), not {value!r}"
        raise caller_error(text) from None
    if view.readonly:
        raise caller_error(f"{where} cannot be written: pass a bytearray or a size")
    return view


@dataclass(slots=True)
class Buffers:
    """One request's buffers in user memory.

    `out` is the app's argument; `block` the heap block to give back, 0 if there is none; `view` the
    writable buffer to fill. Addresses are 0 for an empty buffer.
    """

    out: Any
    input: int = 0
    input_size: int = 0
    output: int = 0
    output_size: int = 0
    block: int = 0
    view: memoryview | None = None

    def result(self, user: UserThread, information: int) -> Any:
        """What the call returns after success; the buffers are given back."""
        if is_raw(self.out):
            result: Any = information
        elif self.view is not None:
            self.fill(user)
            result = self.out
        else:
            size = min(information, self.output_size)
            result = user.mmu.read(self.output, size) if size else b""
        self.release(user)
        return result

    def fill(self, user: UserThread) -> None:
        """Copy everything in the output buffer to the app's."""
        if self.view is not None and self.output_size:
            self.view[:] = user.mmu.read(self.output, self.output_size)

    def fail(self, user: UserThread) -> None:
        """After an error: a writable buffer still receives what was written."""
        self.fill(user)
        self.release(user)

    def release(self, user: UserThread) -> None:
        if self.block:
            user.process.heap.free(self.block)
            self.block = 0


def place(user: UserThread, source: Any, out: Any, funcname: str) -> Buffers:
    """Lay a request's buffers out in the process's heap."""
    made = Buffers(out)
    data = b""
    if is_raw(source):
        made.input, made.input_size = source[0] & MASK64, source[1] & MASK32
    else:
        data = input_bytes(source, f"the input of {funcname}")
        made.input_size = len(data)
    fresh = 0
    if is_raw(out):
        made.output, made.output_size = out[0] & MASK64, out[1] & MASK32
    elif out is None or isinstance(out, int):
        made.output_size = fresh = output_size(out, funcname)
    else:
        made.view = output_view(out, f"the output of {funcname}")
        made.output_size = fresh = len(made.view)
    if data or fresh:
        _fill_block(user, made, data, fresh)
    return made


def output_size(out: Any, funcname: str) -> int:
    """A size given for the output; None is 0."""
    size = int(out or 0)
    if not 0 <= size <= MASK32:
        raise caller_error(f"the output of {funcname} cannot have {size} bytes")
    return size


def _fill_block(user: UserThread, made: Buffers, data: bytes, fresh: int) -> None:
    """One heap block: the input, then from a 16-byte boundary the output."""
    heap = user.process.heap
    room = -(-len(data) // 16) * 16
    made.block = heap.allocate(room + fresh)
    if data:
        made.input = made.block
        user.mmu.write(made.block, data)
    if fresh:
        made.output = made.block + room
        if made.view is not None:
            user.mmu.write(made.output, made.view.tobytes())
        elif not heap.is_fresh(made.block):
            user.mmu.write(made.output, bytes(fresh))
