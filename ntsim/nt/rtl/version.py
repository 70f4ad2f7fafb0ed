"""Which Windows this is: 10.0, build 19041. Source: WDK RtlGetVersion, PsGetVersion,
RtlVerifyVersionInfo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.os_version import RTL_OSVERSIONINFOEXW
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, UCHAR, ULONG, ULONGLONG
from ntsim.nt.exports import OutOpt, export

if TYPE_CHECKING:
    from ntsim.abi.os_version import PRTL_OSVERSIONINFOEXW, PRTL_OSVERSIONINFOW
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


# What a bit of a TypeMask compares; each has three bits of a ConditionMask, bit 0 the lowest.
VER_MINORVERSION, VER_MAJORVERSION, VER_BUILDNUMBER, VER_PLATFORMID = 1, 2, 4, 8
VER_SERVICEPACKMINOR, VER_SERVICEPACKMAJOR, VER_SUITENAME, VER_PRODUCT_TYPE = 16, 32, 64, 128
VER_EQUAL, VER_GREATER, VER_GREATER_EQUAL, VER_LESS, VER_LESS_EQUAL = range(1, 6)
VER_AND, VER_OR = 6, 7
Comparison = tuple[int, tuple[int, ...], tuple[int, ...]]
"""The type whose condition counts, this system's numbers, the wanted ones."""


@export(irql="any")
def VerSetConditionMask(
    nt: Kernel, ConditionMask: ULONGLONG, TypeMask: ULONG, Condition: UCHAR
) -> ULONGLONG:
    """ConditionMask with a condition for the highest type in TypeMask. Source: Win32 reference."""
    if not TypeMask & 0xFF:
        return ConditionMask
    place = 3 * ((TypeMask & 0xFF).bit_length() - 1)
    return ConditionMask | (Condition & 7) << place


def _holds(condition: int, actual: tuple[int, ...], wanted: tuple[int, ...]) -> bool | None:
    """Whether the system's number meets a condition; None if that is none."""
    if condition == VER_EQUAL:
        return actual == wanted
    if condition in (VER_GREATER, VER_GREATER_EQUAL):
        return actual > wanted or (condition == VER_GREATER_EQUAL and actual == wanted)
    if condition in (VER_LESS, VER_LESS_EQUAL):
        return actual < wanted or (condition == VER_LESS_EQUAL and actual == wanted)
    return None


@export(irql="== PASSIVE")
def RtlVerifyVersionInfo(
    nt: Kernel, VersionInfo: PRTL_OSVERSIONINFOEXW, TypeMask: ULONG, ConditionMask: ULONGLONG
) -> NTSTATUS:
    """STATUS_SUCCESS if the system meets every condition, else STATUS_REVISION_MISMATCH.

    Major, minor version and service pack are compared as one number by the condition of the first
    of them that is asked for. No type, or no condition for one: STATUS_INVALID_PARAMETER. Source:
    WDK RtlVerifyVersionInfo; Win32 VerifyVersionInfo; Wine ntdll tests version.c.
    """
    v = VersionInfo._v
    if not TypeMask or not ConditionMask:
        return ntstatus.STATUS_INVALID_PARAMETER
    parts = [
        (VER_MAJORVERSION, MAJOR, v.dwMajorVersion), (VER_MINORVERSION, MINOR, v.dwMinorVersion),
        (VER_SERVICEPACKMAJOR, 0, v.wServicePackMajor),
        (VER_SERVICEPACKMINOR, 0, v.wServicePackMinor),
    ]  # fmt: skip
    asked = [part for part in parts if TypeMask & part[0]]
    compared: list[Comparison] = [
        (VER_BUILDNUMBER, (BUILD,), (v.dwBuildNumber,)),
        (VER_PLATFORMID, (PLATFORM_WIN32_NT,), (v.dwPlatformId,)),
        (VER_PRODUCT_TYPE, (PRODUCT_WORKSTATION,), (v.wProductType,)),
    ]
    checks = [check for check in compared if TypeMask & check[0]]
    if asked:
        checks.append((asked[0][0], tuple(p[1] for p in asked), tuple(p[2] for p in asked)))
    for bit, actual, wanted in checks:
        holds = _holds(ConditionMask >> 3 * (bit.bit_length() - 1) & 7, actual, wanted)
        if holds is None:
            return ntstatus.STATUS_INVALID_PARAMETER
        if not holds:
            return ntstatus.STATUS_REVISION_MISMATCH
    return _suites(TypeMask, ConditionMask, v.wSuiteMask)


def _suites(mask: int, conditions: int, wanted: int) -> int:
    """The suites that must be there: this system has none."""
    if not mask & VER_SUITENAME:
        return ntstatus.STATUS_SUCCESS
    condition = conditions >> 18 & 7
    if condition not in (VER_AND, VER_OR):
        return ntstatus.STATUS_INVALID_PARAMETER
    return ntstatus.STATUS_REVISION_MISMATCH if wanted else ntstatus.STATUS_SUCCESS
