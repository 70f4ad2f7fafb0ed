"""Where the library keeps what it has no call for: hidden segment parts, error code, counter.

A saved context is a copy of the library's processor structure. The order of its first fields is
that of QEMU 5.0 (`qemu/target/i386/cpu.h`, CPUX86State); where they lie, and all other offsets, are
not trusted but found at start: a control block full of known values is loaded and looked up in the
bytes. What is not found exactly once stops the engine.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ntsim.hw.engine import svm
from ntsim.hw.engine.unicorn_c import EngineError, version

if TYPE_CHECKING:
    from ntsim.hw.engine.native import Native

# hflags: set while MOV SS or STI holds interrupts off; code size; long mode.
INHIBIT_INTERRUPTS, CODE_32, CODE_64 = 1 << 3, 1 << 4, 1 << 15
SEGMENTS = tuple(svm.SEGMENTS)
"""ES, CS, SS, DS, FS, GS: the order of their numbers."""
_ERROR_CODES = (0x5A5A_1230, 0x2345_6781)
_SEARCHED = 0x1000


class SegmentCache(ctypes.Structure):
    """A segment register; `flags` are the attributes at their place in a descriptor."""

    _fields_ = (
        ("selector", ctypes.c_uint32),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class ProcessorFields(ctypes.Structure):
    """The beginning of the library's processor structure. `segments` as in SEGMENTS."""

    _fields_ = (
        ("general", ctypes.c_uint64 * 16),
        ("rip", ctypes.c_uint64),
        ("rflags", ctypes.c_uint64),
        ("condition", ctypes.c_uint64 * 3),
        ("condition_kind", ctypes.c_uint32),
        ("direction", ctypes.c_int32),
        ("hflags", ctypes.c_uint32),
        ("hflags2", ctypes.c_uint32),
        ("segments", SegmentCache * 6),
        ("ldtr", SegmentCache),
        ("tr", SegmentCache),
        ("gdtr", SegmentCache),
        ("idtr", SegmentCache),
        ("cr", ctypes.c_uint64 * 9),
    )


class SavedProcessor:
    """Typed access to one saved context; current after a save, effective after a restore."""

    __slots__ = ("cs", "error_code", "fields", "kernel_gs_base", "ss")

    def __init__(self, address: int, layout: Layout) -> None:
        self.fields = ProcessorFields.from_address(address + layout.fields)
        self.cs, self.ss = self.fields.segments[1], self.fields.segments[2]
        self.error_code = ctypes.c_uint32.from_address(address + layout.error_code)
        self.kernel_gs_base = ctypes.c_uint64.from_address(address + layout.kernel_gs_base)


class Layout:
    """The offsets in a context, and the instruction counter of the last run."""

    def __init__(self, native: Native) -> None:
        self._native = native
        self.size: int = native.lib.uc_context_size(native.handle)
        first, second = (self._load(code) for code in _ERROR_CODES)
        if not native.by_block:
            self.counter = self._find_counter()
        self.fields = _only(self._find_fields(first), "the segment registers")
        found = set(_find(first, _u32(_ERROR_CODES[0]))) & set(_find(second, _u32(_ERROR_CODES[1])))
        self.error_code = _only(found, "the error code")
        self.kernel_gs_base = _only(_find(first, _u64(_KERNEL_GS_BASE)), "KERNEL_GS_BASE")

    def overlay(self, context: ctypes.c_void_p) -> SavedProcessor:
        assert context.value
        return SavedProcessor(context.value, self)

    def _load(self, error_code: int) -> bytes:
        """Enter a world made of known values and return the bytes of its context."""
        native = self._native
        address, host = native.scratch_block()
        host[:] = bytes(len(host))
        for offset, value in _probe_block(error_code):
            host[offset : offset + len(value)] = value
        native.vmrun(address)
        context = native.new_context()
        found = ctypes.string_at(context.value, self.size)
        native.lib.uc_free(context)
        return found

    def _find_counter(self) -> ctypes.c_size_t:
        """The library counts instructions next to the limit it was given; VMRUN's run made 2."""
        address = self._native.handle.value
        assert address is not None
        memory = ctypes.string_at(address, _SEARCHED)
        wanted = struct.pack("@NN", 2, self._native.VMRUN_LIMIT)
        found = _only(_find(memory, wanted), "the instruction counter")
        return ctypes.c_size_t.from_address(address + found)

    def _find_fields(self, context: bytes) -> Iterator[int]:
        for offset in range(0, self.size - ctypes.sizeof(ProcessorFields), 8):
            fields = ProcessorFields.from_buffer_copy(context, offset)
            if _matches(fields):
                yield offset


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


_NAMES = (*SEGMENTS, "ldtr", "tr", "gdtr", "idtr")
_OFFSETS = {**svm.SEGMENTS, "ldtr": svm.LDTR, "tr": svm.TR, "gdtr": svm.GDTR, "idtr": svm.IDTR}
_KERNEL_GS_BASE = 0x1234_5678_9ABC_0000
_CR2, _CR3 = 0x3456_789A_0000, 0x0012_3000


def _probe(number: int) -> tuple[int, int, int]:
    """Selector, base and limit of segment `number` in the probe world."""
    return 0x100 + 8 * number, (number + 1) * 0x11_1111_0000, 0x1_0000 + number


def _probe_block(error_code: int) -> Iterator[tuple[int, bytes]]:
    for number, name in enumerate(_NAMES):
        selector, base, limit = _probe(number)
        rights = 0xA09B if name == "cs" else 0xC093
        yield _OFFSETS[name], svm.pack_segment(selector, rights, limit, base)
    yield svm.TLB_CONTROL, b"\x01"
    yield svm.EVENT_INJECTION, _u32(svm.INJECT_NMI) + _u32(error_code)
    yield svm.KERNEL_GS_BASE, _u64(_KERNEL_GS_BASE)
    for offset, value in (
        (svm.CR0, 0x8005_0033),
        (svm.CR2, _CR2),
        (svm.CR3, _CR3),
        (svm.CR4, 0x6F8),
        (svm.EFER, 0xD00),
        (svm.RFLAGS, 2),
    ):
        yield offset, _u64(value)


def _matches(fields: ProcessorFields) -> bool:
    """Whether these are the probe world's registers."""
    caches: list[Any] = [*fields.segments, fields.ldtr, fields.tr, fields.gdtr, fields.idtr]
    for number, cache in enumerate(caches):
        selector, base, limit = _probe(number)
        if (cache.base, cache.limit) != (base, limit):
            return False
        if number < 8 and cache.selector != selector:
            return False
    return (fields.cr[2], fields.cr[3]) == (_CR2, _CR3)


def _find(memory: bytes, wanted: bytes) -> Iterator[int]:
    at = memory.find(wanted)
    while at >= 0:
        if at % 4 == 0:
            yield at
        at = memory.find(wanted, at + 1)


def _only(found: Iterator[int] | set[int], what: str) -> int:
    places = sorted(found)
    if len(places) != 1:
        shown = ".".join(map(str, version()))
        raise EngineError(f"unicorn {shown}: {what}: {len(places)} places fit, ntsim needs one")
    return places[0]
