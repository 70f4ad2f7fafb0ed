"""Which Windows this is: 10.0, build 19041. Source: WDK RtlGetVersion, PsGetVersion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.os_version import RTL_OSVERSIONINFOEXW
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, ULONG
from ntsim.nt.exports import OutOpt, export

if TYPE_CHECKING:
    from ntsim.abi.os_version import PRTL_OSVERSIONINFOW
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

MAJOR, MINOR, BUILD = 10, 0, 19041
PLATFORM_WIN32_NT, PRODUCT_WORKSTATION = 2, 1


@export(irql="== PASSIVE")
def RtlGetVersion(nt: Kernel, lpVersionInformation: PRTL_OSVERSIONINFOW) -> NTSTATUS:
    """Fill in the version; the longer structure if its size says so. Source: WDK RtlGetVersion."""
    v = lpVersionInformation._v
    v.dwMajorVersion, v.dwMinorVersion, v.dwBuildNumber = MAJOR, MINOR, BUILD
    v.dwPlatformId = PLATFORM_WIN32_NT
    lpVersionInformation.szCSDVersion[0] = 0
    if v.dwOSVersionInfoSize == RTL_OSVERSIONINFOEXW.size:
        longer = RTL_OSVERSIONINFOEXW.at(nt.mmu, int(lpVersionInformation))._v
        longer.wServicePackMajor = longer.wServicePackMinor = longer.wSuiteMask = 0
        longer.wProductType = PRODUCT_WORKSTATION
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def PsGetVersion(
    nt: Kernel,
    MajorVersion: OutOpt[ULONG],
    MinorVersion: OutOpt[ULONG],
    BuildNumber: OutOpt[ULONG],
    CSDVersion: PUNICODE_STRING,
) -> BOOLEAN:
    """The version numbers; FALSE for a free build. Source: WDK PsGetVersion."""
    for where, value in ((MajorVersion, MAJOR), (MinorVersion, MINOR), (BuildNumber, BUILD)):
        if where:
            where[0] = value
    if CSDVersion:
        CSDVersion._v.Length = 0
    return False


@export(irql="<= DISPATCH")
def RtlIsNtDdiVersionAvailable(nt: Kernel, Version: ULONG) -> BOOLEAN:
    """TRUE if the system is at least that NTDDI version (0xAABBCCDD: major, minor). Source: WDK."""
    return Version & 0xFF == 0 and Version >> 16 <= MAJOR << 8 | MINOR
