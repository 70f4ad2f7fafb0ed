"""RTL_OSVERSIONINFOW and RTL_OSVERSIONINFOEXW: what RtlGetVersion fills in (winnt.h, wdm.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import UCHAR, ULONG, USHORT
from ntsim.abi.structure import Structure, array, at


class RTL_OSVERSIONINFOW(Structure, size=0x114):
    dwOSVersionInfoSize: ULONG = at(0x00)
    dwMajorVersion: ULONG = at(0x04)
    dwMinorVersion: ULONG = at(0x08)
    dwBuildNumber: ULONG = at(0x0C)
    dwPlatformId: ULONG = at(0x10)
    szCSDVersion = array("WCHAR", 128, 0x14)


class RTL_OSVERSIONINFOEXW(Structure, size=0x11C):
    dwOSVersionInfoSize: ULONG = at(0x00)
    dwMajorVersion: ULONG = at(0x04)
    dwMinorVersion: ULONG = at(0x08)
    dwBuildNumber: ULONG = at(0x0C)
    dwPlatformId: ULONG = at(0x10)
    szCSDVersion = array("WCHAR", 128, 0x14)
    wServicePackMajor: USHORT = at(0x114)
    wServicePackMinor: USHORT = at(0x116)
    wSuiteMask: USHORT = at(0x118)
    wProductType: UCHAR = at(0x11A)
    wReserved: UCHAR = at(0x11B)


if TYPE_CHECKING:
    PRTL_OSVERSIONINFOW = RTL_OSVERSIONINFOW
    PRTL_OSVERSIONINFOEXW = RTL_OSVERSIONINFOEXW
