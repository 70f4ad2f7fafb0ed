"""IPv4 addresses as text, and back.

Up to four numbers, decimal, octal (0...) or hexadecimal (0x...); of fewer the last fills the rest
of the address. Strict wants four decimal ones. An address in memory is in network order, as the
port is. Source: Wine dlls/ntdll/tests/rtl.c test_RtlIpv4StringToAddress and its neighbours; ReactOS
sdk/lib/rtl/network.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PCSTR, PCWSTR, PSTR, PVOID, PWSTR, ULONG, USHORT
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.rtl.codepage import wide_decode
from ntsim.nt.rtl.cstring import narrow_bytes, wide_bytes, write_narrow, write_wide

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

PARTS, HIGHEST, NO_BUFFER = 4, 0xFFFF_FFFF, (1 << 64) - 1
_DIGITS = {8: "01234567", 10: "0123456789", 16: "0123456789abcdef"}

Parsed = tuple[bytes | None, int]
"""The address, or None if the text is none; how many characters were read."""


def base_at(text: str, at: int) -> tuple[int, int]:
    """The base of the number at an offset, and where its digits begin."""
    if text[at : at + 2].lower() == "0x":
        return 16, at + 2
    if text[at : at + 1] == "0" and text[at + 1 : at + 2] in tuple(_DIGITS[10]):
        return 8, at + 1
    return 10, at


def number_at(text: str, at: int, base: int, highest: int) -> tuple[int | None, int]:
    """A number and the offset behind it; None if there is none or it is too high.

    The digit that makes it too high is not read.
    """
    value: int | None = None
    while at < len(text) and text[at].lower() in _DIGITS[base]:
        value = (value or 0) * base + int(text[at], base)
        if value > highest:
            return None, at
        at += 1
    return value, at


def parse_ipv4(text: str, strict: bool) -> Parsed:
    """The address at the beginning of a text."""
    parts: list[int] = []
    at = 0
    while True:
        base, at = base_at(text, at)
        if strict and base != 10:
            return None, at
        value, at = number_at(text, at, base, HIGHEST)
        if value is None:
            empty = text[at : at + 1] == "." and (at == 0 or text[at - 1] == ".")
            return None, at + empty
        parts.append(value)
        if text[at : at + 1] != ".":
            break
        if len(parts) == PARTS:
            return None, at
        at += 1
    if strict and len(parts) < PARTS:
        return None, at
    if any(part > 0xFF for part in parts[:-1]) or parts[-1] >> 8 * (PARTS + 1 - len(parts)):
        return None, at
    return bytes(parts[:-1]) + parts[-1].to_bytes(PARTS + 1 - len(parts), "big"), at


def parse_port(text: str) -> int | None:
    """The port in `:number`, 0 for an empty text; None if it is neither."""
    if not text:
        return 0
    base, at = base_at(text, 1)
    value, at = number_at(text, at, base, 0xFFFF)
    return value if text[0] == ":" and value and at == len(text) else None


def narrow(nt: Kernel, string: int) -> str:
    return narrow_bytes(nt.mmu, string).decode("latin-1")


def wide(nt: Kernel, string: int) -> str:
    return wide_decode(wide_bytes(nt.mmu, string))


def string_to_address(
    nt: Kernel, text: str, start: int, width: int, strict: int, terminator: Out[PVOID], addr: int
) -> int:
    """Store address and terminator; `start` is where the text of `width`-byte characters lies."""
    address, read = parse_ipv4(text, bool(strict))
    terminator[0] = start + read * width
    if address is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    nt.mmu.write(addr, address)
    return ntstatus.STATUS_SUCCESS


def string_to_address_ex(nt: Kernel, text: str, strict: int, addr: int, port: int) -> int:
    """Store address and port; the address even if the port is wrong."""
    address, read = parse_ipv4(text, bool(strict))
    if address is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    nt.mmu.write(addr, address)
    found = parse_port(text[read:])
    if found is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    nt.mmu.write(port, found.to_bytes(2, "big"))
    return ntstatus.STATUS_SUCCESS


def dotted(nt: Kernel, addr: int) -> str:
    return ".".join(str(byte) for byte in nt.mmu.read(addr, 4))


def with_port(nt: Kernel, addr: int, port: int) -> str:
    """`port` is in network order; 0 is left out."""
    number = (port & 0xFF) << 8 | port >> 8
    return dotted(nt, addr) + (f":{number}" if number else "")


@export(irql="any")
def RtlIpv4AddressToStringA(nt: Kernel, Addr: PVOID, S: PSTR) -> PSTR:
    """Write at most 16 characters; the address of the NUL, all ones if S is NULL."""
    return int(S) + write_narrow(nt.mmu, int(S), dotted(nt, Addr)) if S else NO_BUFFER


@export(irql="any")
def RtlIpv4AddressToStringW(nt: Kernel, Addr: PVOID, S: PWSTR) -> PWSTR:
    """The same with wide characters."""
    return int(S) + 2 * write_wide(nt.mmu, int(S), dotted(nt, Addr)) if S else NO_BUFFER


def put_with_port(
    nt: Kernel,
    address: int,
    port: int,
    place: int,
    length: Any,
    write: Callable[[Any, int, str], object],
) -> int:
    """The text of an address and port at `place`, whose room in characters `*length` says."""
    if not (address and place and length):
        return ntstatus.STATUS_INVALID_PARAMETER
    text = with_port(nt, address, port)
    room, length[0] = length[0], len(text) + 1
    if room < len(text) + 1:
        return ntstatus.STATUS_INVALID_PARAMETER
    write(nt.mmu, place, text)
    return ntstatus.STATUS_SUCCESS


@export(irql="any")
def RtlIpv4AddressToStringExA(
    nt: Kernel,
    Address: PVOID,
    Port: USHORT,
    AddressString: PSTR,
    AddressStringLength: OutOpt[ULONG],
) -> NTSTATUS:
    """Address, colon and port, which 0 leaves out. The length counts the NUL.

    Too small a buffer is STATUS_INVALID_PARAMETER with the length that is needed.
    """
    place = int(AddressString)
    return put_with_port(nt, Address, Port, place, AddressStringLength, write_narrow)


@export(irql="any")
def RtlIpv4AddressToStringExW(
    nt: Kernel,
    Address: PVOID,
    Port: USHORT,
    AddressString: PWSTR,
    AddressStringLength: OutOpt[ULONG],
) -> NTSTATUS:
    """The same with wide characters."""
    place = int(AddressString)
    return put_with_port(nt, Address, Port, place, AddressStringLength, write_wide)


@export(irql="any")
def RtlIpv4StringToAddressA(
    nt: Kernel, S: PCSTR, Strict: BOOLEAN, Terminator: Out[PVOID], Addr: PVOID
) -> NTSTATUS:
    """The address that a string begins with; *Terminator is where it ends, or goes wrong."""
    start = int(S)
    return string_to_address(nt, narrow(nt, start), start, 1, Strict, Terminator, Addr)


@export(irql="any")
def RtlIpv4StringToAddressW(
    nt: Kernel, S: PCWSTR, Strict: BOOLEAN, Terminator: Out[PVOID], Addr: PVOID
) -> NTSTATUS:
    """The same with wide characters."""
    start = int(S)
    return string_to_address(nt, wide(nt, start), start, 2, Strict, Terminator, Addr)


@export(irql="any")
def RtlIpv4StringToAddressExA(
    nt: Kernel, AddressString: PCSTR, Strict: BOOLEAN, Address: PVOID, Port: PVOID
) -> NTSTATUS:
    """The whole string is an address, perhaps with a port, in network order."""
    if not (AddressString and Address and Port):
        return ntstatus.STATUS_INVALID_PARAMETER
    return string_to_address_ex(nt, narrow(nt, int(AddressString)), Strict, Address, Port)


@export(irql="any")
def RtlIpv4StringToAddressExW(
    nt: Kernel, AddressString: PCWSTR, Strict: BOOLEAN, Address: PVOID, Port: PVOID
) -> NTSTATUS:
    """The same with wide characters."""
    if not (AddressString and Address and Port):
        return ntstatus.STATUS_INVALID_PARAMETER
    return string_to_address_ex(nt, wide(nt, int(AddressString)), Strict, Address, Port)
