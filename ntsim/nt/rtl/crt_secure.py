"""The C run-time's string and memory routines that know the size of the destination.

They return an errno: EINVAL for NULL or no room at all, ERANGE if the text does not fit, each with
an empty destination where there is one; STRUNCATE if `_TRUNCATE` has cut it. The kernel's run-time
has no invalid-parameter handler. Source: Microsoft C run-time reference, "strcpy_s, wcscpy_s" and
the pages of its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import INT, PCSTR, PCWSTR, PSTR, PVOID, PWSTR, SIZE_T
from ntsim.nt.exports import export
from ntsim.nt.rtl.cstring import narrow_bytes, wide_bytes
from ntsim.nt.rtl.memory import fill_memory

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

EINVAL, ERANGE, STRUNCATE = 22, 34, 80
TRUNCATE = (1 << 64) - 1


def _read(nt: Kernel, string: int, width: int, limit: int | None = None) -> bytes:
    """A string without its terminator, of characters of `width` bytes."""
    return (narrow_bytes if width == 1 else wide_bytes)(nt.mmu, string, limit)


def put(
    nt: Kernel, to: int, room: int, source: int, width: int, count: int | None, keep: bool
) -> int:
    """Copy, or with `keep` append, at most `count` characters; the errno.

    `room` counts characters; more of it than the address space has is as good as none known.
    """
    nul = bytes(width)
    if count == 0 and not keep and not to and not room:
        return 0
    if not to or not room:
        return EINVAL
    if not source and count != 0:
        nt.mmu.write(to, nul)
        return EINVAL
    old = _read(nt, to, width, room) if keep else b""
    if len(old) // width >= room:
        nt.mmu.write(to, nul)
        return EINVAL
    left = room - len(old) // width
    limit = left if count is None or count == TRUNCATE else min(count, left)
    data = _read(nt, source, width, limit) if limit and source else b""
    if len(data) // width < left:
        nt.mmu.write(to + len(old), data + nul)
        return 0
    if count == TRUNCATE:
        nt.mmu.write(to + len(old), data[: (left - 1) * width] + nul)
        return STRUNCATE
    nt.mmu.write(to, nul)
    return ERANGE


@export(irql="any")
def strcpy_s(nt: Kernel, Destination: PSTR, SizeInBytes: SIZE_T, Source: PCSTR) -> INT:
    """Copy if there is room."""
    return put(nt, int(Destination), SizeInBytes, int(Source), 1, None, False)


@export(irql="any")
def strcat_s(nt: Kernel, Destination: PSTR, SizeInBytes: SIZE_T, Source: PCSTR) -> INT:
    """Append if there is room."""
    return put(nt, int(Destination), SizeInBytes, int(Source), 1, None, True)


@export(irql="any")
def strncpy_s(
    nt: Kernel, Destination: PSTR, SizeInBytes: SIZE_T, Source: PCSTR, MaxCount: SIZE_T
) -> INT:
    """Copy at most MaxCount characters and a NUL; `_TRUNCATE` (-1) as many as there is room for."""
    return put(nt, int(Destination), SizeInBytes, int(Source), 1, MaxCount, False)


@export(irql="any")
def strncat_s(
    nt: Kernel, Destination: PSTR, SizeInBytes: SIZE_T, Source: PCSTR, MaxCount: SIZE_T
) -> INT:
    """Append at most MaxCount characters and a NUL."""
    return put(nt, int(Destination), SizeInBytes, int(Source), 1, MaxCount, True)


@export(irql="any")
def wcscpy_s(nt: Kernel, Destination: PWSTR, SizeInWords: SIZE_T, Source: PCWSTR) -> INT:
    """Copy if there is room; sizes are in characters."""
    return put(nt, int(Destination), SizeInWords, int(Source), 2, None, False)


@export(irql="any")
def wcscat_s(nt: Kernel, Destination: PWSTR, SizeInWords: SIZE_T, Source: PCWSTR) -> INT:
    """Append if there is room."""
    return put(nt, int(Destination), SizeInWords, int(Source), 2, None, True)


@export(irql="any")
def wcsncpy_s(
    nt: Kernel, Destination: PWSTR, SizeInWords: SIZE_T, Source: PCWSTR, MaxCount: SIZE_T
) -> INT:
    """Copy at most MaxCount characters and a NUL; `_TRUNCATE` (-1) as many as there is room for."""
    return put(nt, int(Destination), SizeInWords, int(Source), 2, MaxCount, False)


@export(irql="any")
def wcsncat_s(
    nt: Kernel, Destination: PWSTR, SizeInWords: SIZE_T, Source: PCWSTR, MaxCount: SIZE_T
) -> INT:
    """Append at most MaxCount characters and a NUL."""
    return put(nt, int(Destination), SizeInWords, int(Source), 2, MaxCount, True)


@export(irql="any")
def memcpy_s(
    nt: Kernel, Destination: PVOID, DestinationSize: SIZE_T, Source: PVOID, SourceSize: SIZE_T
) -> INT:
    """Copy SourceSize bytes; if they do not fit, or Source is NULL, the destination is zeroed."""
    if not SourceSize:
        return 0
    if not Destination:
        return EINVAL
    if not Source or DestinationSize < SourceSize:
        fill_memory(nt.mmu, int(Destination), 0, DestinationSize)
        return ERANGE if Source else EINVAL
    nt.mmu.write(int(Destination), nt.mmu.read(int(Source), SourceSize))
    return 0


@export(irql="any")
def memmove_s(
    nt: Kernel, Destination: PVOID, DestinationSize: SIZE_T, Source: PVOID, SourceSize: SIZE_T
) -> INT:
    """Move SourceSize bytes, which may overlap; nothing happens if they do not fit."""
    if not SourceSize:
        return 0
    if not Destination or not Source:
        return EINVAL
    if DestinationSize < SourceSize:
        return ERANGE
    nt.mmu.write(int(Destination), nt.mmu.read(int(Source), SourceSize))
    return 0
