"""The machine's physical memory: one host mapping that Python, the engine and aliases share.

The mapping lies over a memfd where the host has one, so that scattered page frames can appear a
second time at consecutive host addresses (`AliasWindow`): a structure that crosses a page is then
one ctypes view, whatever frames it lies in. Without a memfd the RAM is an anonymous mapping and
`can_alias` is false.

A mapping cannot be closed while views on it live, and views live in every driver object: so nothing
here is ever closed by hand. Views made with `from_buffer` keep their mapping alive; the last one
returns it to the host.
"""

import ctypes
import gc
import mmap
import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from functools import cache

PAGE_SIZE = 0x1000
BUS_END = 1 << 40
"""For the engine, physical addresses from the end of RAM to here are a bus where nothing answers:
reads give ones, writes are lost. Beyond it an address has reserved bits set."""

# Linux' values of two flags that Python's mmap module does not name before 3.13.
_NO_RESERVE = 0x4000
_FIXED = 0x10
_PLAIN = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0) | _NO_RESERVE
_MAP_FAILED = ctypes.c_void_p(-1).value

assert sys.byteorder == "little", "ntsim lays little-endian structures over host memory"


class OutsideRam(IndexError):
    """A physical range that is not, or not wholly, RAM."""

    def __init__(self, pa: int, size: int, ram_size: int) -> None:
        super().__init__(f"physical {pa:#x} + {size:#x} bytes: RAM has {ram_size:#x} bytes")
        self.pa = pa


_alive: "weakref.WeakSet[Ram]" = weakref.WeakSet()
_collect_at = 16


def _let_go_of_dead_machines() -> None:
    """Run the garbage collector when many memories exist.

    A machine is a cycle of objects, and the collector does not know what hangs on it: megabytes,
    and hundreds of the mappings of which a host process may have some ten thousand.
    """
    global _collect_at
    if len(_alive) >= _collect_at:
        gc.collect()
        _collect_at = max(16, 2 * len(_alive))


class Ram:
    """`size` bytes of zeroed physical memory, starting at physical address 0; a multiple of 4096.

    `address` is the host address of physical 0. `bytes`, `u32` and `u64` are views of the whole
    memory as bytes and as little-endian words (`u64[pa >> 3]`), for callers who know that their
    address is in range.
    """

    __slots__ = (
        "__weakref__",
        "_fd",
        "_pin",
        "address",
        "bytes",
        "can_alias",
        "map",
        "size",
        "u32",
        "u64",
    )

    def __init__(self, size: int) -> None:
        if size <= 0 or size % PAGE_SIZE:
            raise ValueError(f"RAM size {size:#x} is not a positive multiple of {PAGE_SIZE:#x}")
        _let_go_of_dead_machines()
        _alive.add(self)
        self.size = size
        self._fd = _memory_file(size)
        self.can_alias = self._fd >= 0
        self.map = mmap.mmap(self._fd, size)
        if self.can_alias:
            weakref.finalize(self, os.close, self._fd)
        self._pin = ctypes.c_char.from_buffer(self.map)
        self.address = ctypes.addressof(self._pin)
        self.bytes = memoryview(self.map)
        self.u32 = self.bytes.cast("I")
        self.u64 = self.bytes.cast("Q")

    def read(self, pa: int, size: int) -> bytes:
        """Copy `size` bytes at physical address `pa`; OutsideRam if any of them is not RAM."""
        if pa < 0 or size < 0 or pa + size > self.size:
            raise OutsideRam(pa, size, self.size)
        return self.map[pa : pa + size]

    def write(self, pa: int, data: bytes | bytearray | memoryview) -> None:
        """Copy `data` to physical address `pa`; OutsideRam, nothing written, if it does not fit."""
        size = len(data)
        if pa < 0 or pa + size > self.size:
            raise OutsideRam(pa, size, self.size)
        self.map[pa : pa + size] = data

    def alias(self, host_address: int, pa: int, size: int) -> None:
        """Make the RAM at `pa` appear at `host_address` too, in place of what the host had there.

        All three are multiples of 4096. `host_address` must lie in address space the caller has
        reserved: `AliasWindow` is the safe way in.
        """
        assert self.can_alias, "this host has no memfd: RAM cannot be mapped a second time"
        assert (host_address | pa | size) % PAGE_SIZE == 0, f"unaligned: {pa:#x}, {host_address:#x}"
        if pa < 0 or pa + size > self.size:
            raise OutsideRam(pa, size, self.size)
        _map_fixed(host_address, size, mmap.MAP_SHARED, self._fd, pa)


class AliasWindow:
    """`size` bytes of host address space in which page frames of `ram` line up in any order.

    Before a page is mapped, and after it is unmapped, it is ordinary zeroed host memory: a stray
    access reads zeros and never faults the host. Take views with `from_buffer(window.buffer,
    offset)`: they keep the window alive.
    """

    __slots__ = ("_pin", "address", "buffer", "bytes", "ram", "size")

    def __init__(self, ram: Ram, size: int) -> None:
        assert size > 0 and size % PAGE_SIZE == 0, f"alias window of {size:#x} bytes"
        assert ram.can_alias, "this host has no memfd: RAM cannot be mapped a second time"
        self.ram = ram
        self.size = size
        self.buffer = mmap.mmap(-1, size, flags=_PLAIN)
        self._pin = ctypes.c_char.from_buffer(self.buffer)
        self.address = ctypes.addressof(self._pin)
        self.bytes = memoryview(self.buffer)

    def host(self, offset: int) -> int:
        """The host address of byte `offset` of the window."""
        assert 0 <= offset < self.size, f"offset {offset:#x} of a {self.size:#x} byte window"
        return self.address + offset

    def map(self, offset: int, frames: Sequence[int]) -> None:
        """Line up the frames at physical addresses `frames` from `offset` on.

        Costs one host call a physically contiguous run.
        """
        self._check(offset, len(frames) * PAGE_SIZE)
        for start, pa, size in _runs(frames):
            self.ram.alias(self.address + offset + start, pa, size)

    def unmap(self, offset: int, size: int) -> None:
        """Put plain zeroed host memory back over `size` bytes from `offset` on."""
        self._check(offset, size)
        _map_fixed(self.address + offset, size, _PLAIN, -1, 0)

    def _check(self, offset: int, size: int) -> None:
        assert (offset | size) % PAGE_SIZE == 0, f"unaligned window range {offset:#x} + {size:#x}"
        inside = 0 <= offset <= offset + size <= self.size
        assert inside, f"{offset:#x} + {size:#x} of a {self.size:#x} byte window"


def _runs(frames: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Group frames into physically contiguous runs: (byte offset of the run, first pa, bytes)."""
    first = 0
    for i in range(1, len(frames) + 1):
        if i == len(frames) or frames[i] != frames[i - 1] + PAGE_SIZE:
            yield first * PAGE_SIZE, frames[first], (i - first) * PAGE_SIZE
            first = i


def _memory_file(size: int) -> int:
    """A memfd of `size` bytes, or -1 (which mmap takes for "anonymous") where the host has none."""
    if not hasattr(os, "memfd_create"):
        return -1
    fd = os.memfd_create("ntsim-ram", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,  # off_t of the 64-bit Linux ABI
    )
    return libc


def _map_fixed(address: int, size: int, flags: int, fd: int, offset: int) -> None:
    """mmap(2) at a fixed, already reserved host address."""
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    got = _libc().mmap(address, size, protection, flags | _FIXED, fd, offset)
    if got == _MAP_FAILED:
        error = ctypes.get_errno()
        raise OSError(error, f"mmap of {size:#x} bytes at {address:#x}: {os.strerror(error)}")
