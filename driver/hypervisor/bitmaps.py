"""MSR and I/O bitmaps: which registers and ports are worth an exit. SDM 3, "MSR-Bitmap Address".

Three pages side by side: the MSR bitmap, I/O bitmap A (ports 0 to 7FFFH), I/O bitmap B. All zero:
no port and no MSR of the two ranges exits; an MSR outside both always does.
"""

from ntsim.wdm import *

HIGH_MSRS, RANGE = 0xC0000000, 0x2000
READ_HALF, WRITE_HALF = 0, 0x800
MSR_PAGE, IO_PAGES = 0, PAGE_SIZE
SIZE = 3 * PAGE_SIZE


def AllocateBitmaps():
    """Zeroed, or NULL."""
    Bitmaps = MmAllocateContiguousMemory(SIZE, MAXULONG64)
    if Bitmaps:
        RtlZeroMemory(Bitmaps, SIZE)
    return Bitmaps


def WatchMsr(Bitmaps, Msr, Half) -> BOOLEAN:
    """RDMSR (READ_HALF) or WRMSR (WRITE_HALF) of Msr exits. FALSE: it does so anyway."""
    if Msr < RANGE:
        Offset = MSR_PAGE + Half
    elif HIGH_MSRS <= Msr < HIGH_MSRS + RANGE:
        Offset, Msr = MSR_PAGE + Half + 0x400, Msr - HIGH_MSRS
    else:
        return FALSE
    SetBit(Bitmaps + Offset, Msr)
    return TRUE


def WatchPort(Bitmaps, Port) -> BOOLEAN:
    """IN and OUT of Port exit. The two I/O bitmaps lie side by side: one of 65536 bits."""
    if Port > 0xFFFF:
        return FALSE
    SetBit(Bitmaps + IO_PAGES, Port)
    return TRUE


def SetBit(Bitmap, i) -> None:
    Byte = cast(Bitmap + i // 8, PUCHAR)
    Byte[0] |= 1 << i % 8
