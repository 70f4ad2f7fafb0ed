"""Questions about the system: time and processors."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ntsim.nt.mm.layout import KUSER_SHARED_DATA_USER
from ntsim.um import kernelbase
from ntsim.um.current import current_user
from ntsim.um.errors import status_error

TICK_COUNT_MULTIPLIER, SYSTEM_TIME, TICK_COUNT = 0x4, 0x14, 0x320
PROCESSOR_AMD_X8664 = 8664


class SYSTEM_INFO(NamedTuple):
    """GetSystemInfo's answer, in pywin32's order."""

    dwOemId: int
    dwPageSize: int
    lpMinimumApplicationAddress: int
    lpMaximumApplicationAddress: int
    dwActiveProcessorMask: int
    dwNumberOfProcessors: int
    dwProcessorType: int
    dwAllocationGranularity: int
    wProcessor: tuple[int, int]


def _shared(offset: int, size: int) -> int:
    """A field of KUSER_SHARED_DATA, read where user mode sees it."""
    user = current_user("GetTickCount")
    user.nt.il.step()
    data = user.mmu.read(KUSER_SHARED_DATA_USER + offset, size)
    return int.from_bytes(data, "little")


def GetTickCount64() -> int:
    """Milliseconds since boot, in steps of a clock tick (15.625 ms)."""
    return _shared(TICK_COUNT, 8) * _shared(TICK_COUNT_MULTIPLIER, 4) >> 24


def GetTickCount() -> int:
    """Milliseconds since boot, 32 bits."""
    return GetTickCount64() & 0xFFFF_FFFF


def GetSystemTimeAsFileTime() -> int:
    """100 ns units since 1601, as of the last clock tick."""
    return _shared(SYSTEM_TIME, 8)


def QueryPerformanceFrequency() -> int:
    """Counts a second: 10 million."""
    current_user("QueryPerformanceFrequency")
    return 10_000_000


def QueryPerformanceCounter() -> int:
    """Counts since boot: the interrupt time in 100 ns units."""
    user = current_user("QueryPerformanceCounter")
    user.nt.il.step()
    return user.nt.il.now


def GetCurrentProcessorNumber() -> int:
    """The processor that the calling thread runs on."""
    user = current_user("GetCurrentProcessorNumber")
    user.nt.il.step()
    return user.nt.il.current.number


def GetSystemInfo() -> SYSTEM_INFO:
    """Pages, addresses, processors."""
    user = current_user("GetSystemInfo")
    status, data = kernelbase.GetSystemInfo()
    if status:
        raise status_error(user, "GetSystemInfo", status)
    values = struct.unpack("<IIIIIIIxxxxQQQQ", data)
    page, granularity = values[2], values[6]
    low, high, mask, count = values[7:]
    signature = user.nt.il.current.cpuid(1)[0]
    model = signature >> 4 & 0xF | signature >> 12 & 0xF0
    revision = model << 8 | signature & 0xF
    processor = (signature >> 8 & 0xF, revision)
    return SYSTEM_INFO(
        9, page, low, high, mask, count & 0xFF, PROCESSOR_AMD_X8664, granularity, processor
    )
