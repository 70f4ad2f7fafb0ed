"""Images in memory: RtlImageNtHeader, RtlImageDirectoryEntryToData, RtlPcToFileHeader.

They read the image's bytes as they are. Source: ReactOS sdk/lib/rtl/image.c (limits and which
address a directory has); Wine dlls/ntdll/tests/rtl.c test_RtlImageDirectoryEntryToData.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.image import IMAGE_NT_HEADERS
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG, USHORT
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.mm import layout

if TYPE_CHECKING:
    from ntsim.abi.image import PIMAGE_NT_HEADERS
    from ntsim.nt.kernel import Kernel

DOS_SIGNATURE, NT_SIGNATURE, PE32_PLUS = b"MZ", b"PE\0\0", 0x20B
_DIRECTORY, _FARTHEST = 0x88, 0x1000_0000
"""Of the data directories in IMAGE_NT_HEADERS64; e_lfanew must be below 256 MiB."""

_SECTIONS, _SECTION_SIZE = 0x18, 0x28


def rtl_nt_header(nt: Kernel, base: int) -> int:
    """Address of an image's IMAGE_NT_HEADERS64, 0 if no image begins at `base`."""
    if base in (0, (1 << 64) - 1) or nt.mmu.read(base, 2) != DOS_SIGNATURE:
        return 0
    distance = int.from_bytes(nt.mmu.read(base + 0x3C, 4), "little")
    if distance >= _FARTHEST:
        return 0
    return base + distance if nt.mmu.read(base + distance, 4) == NT_SIGNATURE else 0


@export(irql="<= APC")
def RtlImageNtHeader(nt: Kernel, BaseAddress: PVOID) -> PIMAGE_NT_HEADERS:
    """The NT headers of the image at BaseAddress, NULL if none begins there."""
    return IMAGE_NT_HEADERS.at(nt.mmu, rtl_nt_header(nt, BaseAddress))  # type: ignore[no-any-return]


@export(irql="<= APC")
def RtlImageDirectoryEntryToData(
    nt: Kernel, Base: PVOID, MappedAsImage: BOOLEAN, DirectoryEntry: USHORT, Size: OutOpt[ULONG]
) -> PVOID:
    """Address and size of a data directory; NULL if the image has none.

    The lowest bit of Base says that the file is mapped flat, as MappedAsImage = FALSE does:
    directories then lie where their section's bytes lie in the file.
    """
    flat = Base & 1 or not MappedAsImage
    base = Base & ~1
    header = rtl_nt_header(nt, base)
    if not header:
        return 0
    data = nt.mmu.read(header, _DIRECTORY)
    if int.from_bytes(data[0x18:0x1A], "little") != PE32_PLUS:
        return 0
    if DirectoryEntry >= int.from_bytes(data[_DIRECTORY - 4 :], "little"):
        return 0
    row = nt.mmu.read(header + _DIRECTORY + 8 * DirectoryEntry, 8)
    place, size = int.from_bytes(row[:4], "little"), int.from_bytes(row[4:], "little")
    if not place:
        return 0
    Size[0] = size
    if flat and place >= int.from_bytes(data[0x54:0x58], "little"):
        return _in_file(nt, base, header, data, place)
    return base + place


def _in_file(nt: Kernel, base: int, header: int, data: bytes, place: int) -> int:
    """Where the byte at an image's `place` is in the file that lies at `base`."""
    count = int.from_bytes(data[6:8], "little")
    first = header + _SECTIONS + int.from_bytes(data[0x14:0x16], "little")
    for index in range(count):
        row = nt.mmu.read(first + index * _SECTION_SIZE, _SECTION_SIZE)
        start, size, raw = (int.from_bytes(row[i : i + 4], "little") for i in (12, 16, 20))
        if start <= place < start + size:
            return base + raw + place - start
    return 0


@export(irql="any")
def RtlPcToFileHeader(nt: Kernel, PcValue: PVOID, BaseOfImage: OutOpt[PVOID]) -> PVOID:
    """Base of the loaded image that an address lies in, NULL if it is in none."""
    image = None if layout.is_user_address(PcValue) else nt.images.at(PcValue)
    base = 0 if image is None else image.base
    BaseOfImage[0] = base
    return base
