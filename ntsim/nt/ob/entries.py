"""The entries of object directories, as bytes: OBJECT_DIRECTORY's 37 hash buckets.

An entry is an OBJECT_DIRECTORY_ENTRY that a bucket's chain links; the name stands in the object's
OBJECT_HEADER_NAME_INFO. Names are compared without case. Source: Windows 10 19041 symbols; the hash
is that of ReactOS ntoskrnl/ob/obdir.c, ObpLookupEntryDirectory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.ob import OBJECT_DIRECTORY_ENTRY, OBJECT_HEADER, OBJECT_HEADER_NAME_INFO
from ntsim.nt.rtl.text import read_unicode
from ntsim.nt.rtl.upcase import upcase

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

BUCKETS = 37
NAME_BEFORE_BODY = OBJECT_HEADER.offset_of("Body") + OBJECT_HEADER_NAME_INFO.size
_OBJECT = OBJECT_DIRECTORY_ENTRY.offset_of("Object")
_HASH = OBJECT_DIRECTORY_ENTRY.offset_of("HashValue")


def obp_hash(name: str) -> int:
    """The 32-bit hash of a name, the same whatever its case."""
    value = 0
    for unit in upcase(name):
        value = value + (value << 1) + (value >> 1) + ord(unit) & 0xFFFF_FFFF
    return value


def obp_name(nt: Kernel, body: int) -> str:
    """The last part of an object's name, empty if it has none."""
    return read_unicode(nt.mmu, obp_name_information(nt, body).Name)


def obp_name_information(nt: Kernel, body: int) -> Any:
    return OBJECT_HEADER_NAME_INFO.at(nt.mmu, body - NAME_BEFORE_BODY)


def _find(nt: Kernel, directory: int, name: str) -> tuple[int, int]:
    """(address of the link to the entry, entry) of a name; entry 0 if there is none."""
    wanted, value = upcase(name), obp_hash(name)
    read = nt.mmu.read_word
    link = directory + 8 * (value % BUCKETS)
    while entry := read(link):
        if read(entry + _HASH) & 0xFFFF_FFFF == value:
            body = read(entry + _OBJECT)
            if upcase(obp_name(nt, body)) == wanted:
                return link, entry
        link = entry
    return link, 0


def obp_find_entry(nt: Kernel, directory: int, name: str) -> int:
    """The object of that name, 0 if there is none."""
    entry = _find(nt, directory, name)[1]
    return nt.mmu.read_word(entry + _OBJECT) if entry else 0


def obp_insert_entry(nt: Kernel, directory: int, name: str, body: int) -> None:
    """Enter an object whose name stands in its header, at the head of its bucket."""
    value = obp_hash(name)
    bucket = directory + 8 * (value % BUCKETS)
    entry = nt.allocate_pool(OBJECT_DIRECTORY_ENTRY.size, "ObDi")
    nt.mmu.write_word(entry, nt.mmu.read_word(bucket))
    nt.mmu.write_word(entry + _OBJECT, body)
    nt.mmu.write_word(entry + _HASH, value)
    nt.mmu.write_word(bucket, entry)


def obp_remove_entry(nt: Kernel, directory: int, name: str) -> None:
    """Take a name out; nothing happens if it is not there."""
    link, entry = _find(nt, directory, name)
    if entry:
        nt.mmu.write_word(link, nt.mmu.read_word(entry))
        nt.free_pool(entry)


def obp_entries(nt: Kernel, directory: int) -> list[tuple[str, int]]:
    """(name, object) of every entry, bucket by bucket."""
    found = []
    for bucket in range(BUCKETS):
        entry = nt.mmu.read_word(directory + 8 * bucket)
        while entry:
            body = nt.mmu.read_word(entry + _OBJECT)
            found.append((obp_name(nt, body), body))
            entry = nt.mmu.read_word(entry)
    return found
