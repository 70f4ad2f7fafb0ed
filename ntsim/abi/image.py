"""ntimage.h: the headers of an image in memory.

Layout: Windows 10 build 19041 x64 public symbols; Microsoft "PE Format".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONG, UCHAR, ULONG, ULONGLONG, USHORT
from ntsim.abi.structure import Structure, array, at


class IMAGE_DOS_HEADER(Structure, size=0x40):
    e_magic: USHORT = at(0x00)
    e_cblp: USHORT = at(0x02)
    e_cp: USHORT = at(0x04)
    e_crlc: USHORT = at(0x06)
    e_cparhdr: USHORT = at(0x08)
    e_minalloc: USHORT = at(0x0A)
    e_maxalloc: USHORT = at(0x0C)
    e_ss: USHORT = at(0x0E)
    e_sp: USHORT = at(0x10)
    e_csum: USHORT = at(0x12)
    e_ip: USHORT = at(0x14)
    e_cs: USHORT = at(0x16)
    e_lfarlc: USHORT = at(0x18)
    e_ovno: USHORT = at(0x1A)
    e_oemid: USHORT = at(0x24)
    e_oeminfo: USHORT = at(0x26)
    e_lfanew: LONG = at(0x3C)


class IMAGE_FILE_HEADER(Structure, size=0x14):
    Machine: USHORT = at(0x00)
    NumberOfSections: USHORT = at(0x02)
    TimeDateStamp: ULONG = at(0x04)
    PointerToSymbolTable: ULONG = at(0x08)
    NumberOfSymbols: ULONG = at(0x0C)
    SizeOfOptionalHeader: USHORT = at(0x10)
    Characteristics: USHORT = at(0x12)


class IMAGE_DATA_DIRECTORY(Structure, size=0x8):
    VirtualAddress: ULONG = at(0x00)
    Size: ULONG = at(0x04)


class IMAGE_OPTIONAL_HEADER64(Structure, size=0xF0):
    Magic: USHORT = at(0x00)
    MajorLinkerVersion: UCHAR = at(0x02)
    MinorLinkerVersion: UCHAR = at(0x03)
    SizeOfCode: ULONG = at(0x04)
    SizeOfInitializedData: ULONG = at(0x08)
    SizeOfUninitializedData: ULONG = at(0x0C)
    AddressOfEntryPoint: ULONG = at(0x10)
    BaseOfCode: ULONG = at(0x14)
    ImageBase: ULONGLONG = at(0x18)
    SectionAlignment: ULONG = at(0x20)
    FileAlignment: ULONG = at(0x24)
    MajorOperatingSystemVersion: USHORT = at(0x28)
    MinorOperatingSystemVersion: USHORT = at(0x2A)
    MajorImageVersion: USHORT = at(0x2C)
    MinorImageVersion: USHORT = at(0x2E)
    MajorSubsystemVersion: USHORT = at(0x30)
    MinorSubsystemVersion: USHORT = at(0x32)
    Win32VersionValue: ULONG = at(0x34)
    SizeOfImage: ULONG = at(0x38)
    SizeOfHeaders: ULONG = at(0x3C)
    CheckSum: ULONG = at(0x40)
    Subsystem: USHORT = at(0x44)
    DllCharacteristics: USHORT = at(0x46)
    SizeOfStackReserve: ULONGLONG = at(0x48)
    SizeOfStackCommit: ULONGLONG = at(0x50)
    SizeOfHeapReserve: ULONGLONG = at(0x58)
    SizeOfHeapCommit: ULONGLONG = at(0x60)
    LoaderFlags: ULONG = at(0x68)
    NumberOfRvaAndSizes: ULONG = at(0x6C)
    DataDirectory = array("IMAGE_DATA_DIRECTORY", 16, 0x70)


class IMAGE_NT_HEADERS64(Structure, size=0x108):
    Signature: ULONG = at(0x00)
    FileHeader: IMAGE_FILE_HEADER = at(0x04)
    OptionalHeader: IMAGE_OPTIONAL_HEADER64 = at(0x18)


class IMAGE_NT_HEADERS(IMAGE_NT_HEADERS64, size=0x108):
    """What IMAGE_NT_HEADERS is in a 64-bit driver."""


class IMAGE_SECTION_HEADER(Structure, size=0x28):
    Name = array("UCHAR", 8, 0x00)
    VirtualSize: ULONG = at(0x08)
    VirtualAddress: ULONG = at(0x0C)
    SizeOfRawData: ULONG = at(0x10)
    PointerToRawData: ULONG = at(0x14)
    PointerToRelocations: ULONG = at(0x18)
    PointerToLinenumbers: ULONG = at(0x1C)
    NumberOfRelocations: USHORT = at(0x20)
    NumberOfLinenumbers: USHORT = at(0x22)
    Characteristics: ULONG = at(0x24)


class IMAGE_EXPORT_DIRECTORY(Structure, size=0x28):
    Characteristics: ULONG = at(0x00)
    TimeDateStamp: ULONG = at(0x04)
    MajorVersion: USHORT = at(0x08)
    MinorVersion: USHORT = at(0x0A)
    Name: ULONG = at(0x0C)
    Base: ULONG = at(0x10)
    NumberOfFunctions: ULONG = at(0x14)
    NumberOfNames: ULONG = at(0x18)
    AddressOfFunctions: ULONG = at(0x1C)
    AddressOfNames: ULONG = at(0x20)
    AddressOfNameOrdinals: ULONG = at(0x24)


if TYPE_CHECKING:
    PIMAGE_NT_HEADERS = IMAGE_NT_HEADERS
