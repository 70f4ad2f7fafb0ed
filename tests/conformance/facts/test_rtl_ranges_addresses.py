"""Facts of range lists, IPv4 addresses as text, OEM characters."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests, raised, variable

RANGES = Facts(f"{KMTESTS}/rtl/RtlRangeList.c")
OEM = Facts(f"{KMTESTS}/rtl/RtlIsValidOemCharacter.c")
TO_TEXT = Facts("Wine dlls/ntdll/tests/rtl.c test_RtlIpv4AddressToString(Ex)")
TO_ADDRESS = Facts("Wine dlls/ntdll/tests/rtl.c test_RtlIpv4StringToAddress")
TO_ADDRESS_EX = Facts("Wine dlls/ntdll/tests/rtl.c test_RtlIpv4StringToAddressEx")
INVALID = STATUS_INVALID_PARAMETER

FIRST = (0x100, 0x200, 0x1111, 0xAAAA, 1, 0)
"""Start, end, user data, owner, attributes, flags."""


def filled(size: int) -> int:
    """Pool memory full of 0x55."""
    address = ExAllocatePoolZero(PagedPool, size, 1)
    write_bytes(address, b"\x55" * size)
    return int(address)


def new_list() -> Any:
    made = cast(filled(RTL_RANGE_LIST.size), PRTL_RANGE_LIST)
    RtlInitializeRangeList(made)
    return made


def add(ranges: Any, values: tuple[int, ...], flags: int = 0) -> int:
    start, end, data, owner, attributes, _ = values
    return RtlAddRange(ranges, start, end, attributes, flags, data, owner)


def listed(ranges: Any) -> list[Any]:
    """(flags, count, stamp), then every range as the iterator shows them."""
    iterator = cast(filled(RTL_RANGE_LIST_ITERATOR.size), PRTL_RANGE_LIST_ITERATOR)
    state: list[Any] = [(ranges.Flags, ranges.Count, ranges.Stamp)]
    status, found = RtlGetFirstRange(ranges, iterator)
    while not status:
        state.append((found.Start, found.End, int(found.UserData), int(found.Owner),
                      found.Attributes, found.Flags))  # fmt: skip
        assert iterator.Current == int(found) and iterator.Stamp == ranges.Stamp
        assert int(iterator.RangeListHead) == int(ranges) and not iterator.MergedHead
        status, found = RtlGetNextRange(iterator, TRUE)
    for _ in range(2):
        assert (status, int(found), iterator.Current) == (STATUS_NO_MORE_ENTRIES, 0, 0)
        status, found = RtlGetNextRange(iterator, TRUE)
    assert read_bytes(int(iterator) + 0x1C, 4) == b"\x55" * 4
    return state


def with_first() -> Any:
    ranges = new_list()
    assert add(ranges, FIRST) == STATUS_SUCCESS
    return ranges


@RANGES.fact([[(0, 0, 0)], True, b"\x55" * 4])
def an_initialized_list_is_empty_and_the_padding_is_left_alone() -> list[Any]:
    ranges = new_list()
    empty = bool(IsListEmpty(ranges.ListHead))
    return [listed(ranges), empty, read_bytes(int(ranges) + 0x1C, 4)]


@RANGES.fact([[(0, 1, 1), FIRST], [(0, 0, 1)]])
def a_range_is_added_and_freeing_the_list_keeps_the_stamp() -> list[Any]:
    ranges = with_first()
    before = listed(ranges)
    RtlFreeRangeList(ranges)
    return [before, listed(ranges)]


@RANGES.fact([INVALID, [(0, 1, 1), FIRST]])
def a_range_that_ends_before_its_start_is_refused() -> list[Any]:
    ranges = with_first()
    return [add(ranges, (0x300, 0x2FF, 1, 2, 2, 0)), listed(ranges)]


ADDED = {"empty": ((0x300, 0x300, 0x2222, 0xBBBB, 0xFF, 0), 0),
         "shared": ((0x300, 0x400, 0x2222, 0xBBBB, 2, RTL_RANGE_SHARED), 2)}  # fmt: skip


@RANGES.fact(
    lambda kind: [0, [(0, 2, 2), FIRST, ADDED[kind][0]], 0, [(0, 1, 3), FIRST]], kind=list(ADDED)
)
def a_range_of_one_value_or_a_shared_one_is_added_and_deleted(kind: str) -> list[Any]:
    ranges = with_first()
    values, flags = ADDED[kind]
    status = add(ranges, values, flags)
    state = listed(ranges)
    return [status, state, RtlDeleteRange(ranges, values[0], values[1], values[3]), listed(ranges)]


AVAILABLE = {
    (0xFF, 0xFF): True, (0x100, 0x100): False, (0x200, 0x200): False, (0x201, 0x201): True,
    (0, 0xFF): True, (0, 0x100): False, (0, 0x180): False, (0, 0x300): False,
    (0x180, 0x300): False, (0x200, 0x300): False, (0x201, 0x300): True, (0x100, 0xFF): True,
    (0x101, 0x100): False, (0x201, 0x200): True, (0x200, 0x1FF): False, (0x201, 0xFF): True,
}  # fmt: skip


@RANGES.fact({bounds: (STATUS_SUCCESS, int(free), 1) for bounds, free in AVAILABLE.items()})
def a_range_is_available_where_nothing_is() -> dict[tuple[int, int], tuple[int, int, int]]:
    ranges = with_first()
    return {
        bounds: (*RtlIsRangeAvailable(ranges, *bounds, 0, 0, NULL, NULL), ranges.Stamp)
        for bounds in AVAILABLE
    }


@RANGES.fact((STATUS_SUCCESS, 1), mask=[1, 0xFF])
def what_has_an_attribute_of_the_mask_counts_as_available(mask: int) -> tuple[int, int]:
    return RtlIsRangeAvailable(with_first(), 0, 0x300, 0, mask, NULL, NULL)


VALID = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz~!#$%^&*()_+|`:;\"'-/\\ "


@OEM.fact([])
def characters_of_english_are_valid_and_become_capitals() -> list[str]:
    wrong = []
    for character in "\0" + VALID:
        value = variable(WCHAR, ord(character))
        if not RtlIsValidOemCharacter(value) or chr(value[0]) != character.upper():
            wrong.append(character)
    return wrong


@OEM.fact([False, True], code=[ord("?"), 0x372, 0x3CF, 0x3D5F])
def the_default_character_and_foreign_ones_are_not_valid(code: int) -> list[bool]:
    value = variable(WCHAR, code)
    valid = bool(RtlIsValidOemCharacter(value))
    return [valid, value[0] == RtlUpcaseUnicodeChar(code)]


@OEM.fact(STATUS_ACCESS_VIOLATION)
def no_character_at_all_raises() -> int:
    return raised(lambda: RtlIsValidOemCharacter(NULL))


def address_of(*parts: int) -> int:
    address = filled(4)
    write_bytes(address, bytes(parts))
    return address


@TO_TEXT.fact(["1.2.3.4", 7, (1 << 64) - 1])
def an_address_as_text_and_where_it_ends() -> list[Any]:
    address, buffer = address_of(1, 2, 3, 4), filled(20)
    end = RtlIpv4AddressToStringA(address, buffer)
    text = read_bytes(buffer, 20).split(b"\0")[0].decode()
    return [text, int(end) - buffer, int(RtlIpv4AddressToStringA(address, NULL))]


TEXTS = {0x5000: "1.2.3.4:80", 0: "1.2.3.4"}


@TO_TEXT.fact(
    lambda port, spare: [INVALID if spare < 0 else 0, len(TEXTS[port]) + 1,
                         TEXTS[port] if spare >= 0 else "#" * 29],
    port=list(TEXTS), spare=[10, 0, -1, -2],
)  # fmt: skip
def address_and_port_need_room_for_the_nul(port: int, spare: int) -> list[Any]:
    buffer, size = filled(30), variable(ULONG, len(TEXTS[port]) + 1 + spare)
    write_bytes(buffer, b"#" * 29 + b"\0")
    status = RtlIpv4AddressToStringExA(address_of(1, 2, 3, 4), port, buffer, size)
    return [status, size[0], read_bytes(buffer, 30).split(b"\0")[0].decode()]


@TO_TEXT.fact([INVALID] * 3)
def every_pointer_is_wanted() -> list[int]:
    address, buffer, size = address_of(1, 2, 3, 4), filled(30), variable(ULONG, 30)
    return [
        RtlIpv4AddressToStringExA(address, 0, buffer, NULL),
        RtlIpv4AddressToStringExA(address, 0, NULL, size),
        RtlIpv4AddressToStringExA(NULL, 0, buffer, size),
    ]


NONE = None
ADDRESSES: dict[str, tuple[Any, ...]] = {
    "": (NONE, 0), " ": (NONE, 0), "1.1.1.1": ((1, 1, 1, 1), 7), "0.0.0.0": ((0, 0, 0, 0), 7),
    "255.255.255.255": ((255,) * 4, 15), "255.255.255.255:123": ((255,) * 4, 15),
    "255.255.255.256": (NONE, 15), "255.255.255.4294967295": (NONE, 22),
    "255.255.255.4294967296": (NONE, 21), "255.255.255.4294967297": (NONE, 21), "a": (NONE, 0),
    "1.1.1.0xaA": ((1, 1, 1, 170), 10, NONE, 8), "1.1.1.0XaA": ((1, 1, 1, 170), 10, NONE, 8),
    "1.1.1.0x": (NONE, 8), "1.1.1.0xff": ((1, 1, 1, 255), 10, NONE, 8),
    "1.1.1.0x100": (NONE, 11, NONE, 8), "1.1.1.0xffffffff": (NONE, 16, NONE, 8),
    "1.1.1.0x100000000": (NONE, 16, NONE, 8), "1.1.1.010": ((1, 1, 1, 8), 9, NONE, 7),
    "1.1.1.00": ((1, 1, 1, 0), 8, NONE, 7), "1.1.1.007": ((1, 1, 1, 7), 9, NONE, 7),
    "1.1.1.08": (NONE, 7), "1.1.1.008": ((1, 1, 1, 0), 8, NONE, 7), "1.1.1.0a": ((1, 1, 1, 0), 7),
    "1.1.1.0o10": ((1, 1, 1, 0), 7), "1.1.1.0b10": ((1, 1, 1, 0), 7), "1.1.1.-2": (NONE, 6),
    "1": ((0, 0, 0, 1), 1, NONE, 1), "-1": (NONE, 0), "203569230": ((12, 34, 56, 78), 9, NONE, 9),
    "1.223756": ((1, 3, 106, 12), 8, NONE, 8), "3.4.756": ((3, 4, 2, 244), 7, NONE, 7),
    "3.4.756.1": (NONE, 9), "3.4.65536": (NONE, 9), "3.4.5.6.7": (NONE, 7), "3.4.5.+6": (NONE, 6),
    " 3.4.5.6": (NONE, 0), "\t3.4.5.6": (NONE, 0), "3.4.5.6 ": ((3, 4, 5, 6), 7),
    "3. 4.5.6": (NONE, 2), ".": (NONE, 1), "..": (NONE, 1), "1.": (NONE, 2), "1..": (NONE, 3),
    ".1": (NONE, 1), ".1.": (NONE, 1), ".1.2.3": (NONE, 1), "0.1.2.3": ((0, 1, 2, 3), 7),
    "0.1.2.3.": (NONE, 7), "[0.1.2.3]": (NONE, 0), "::1": (NONE, 0), ":1": (NONE, 0),
}  # fmt: skip
"""The address and where reading stops; then the same for Strict, if that differs."""
REST_FAILS = ("1.1.1.008", "1.1.1.0a", "1.1.1.0o10", "1.1.1.0b10", "3.4.5.6 ")
UNTOUCHED = (0xAB,) * 4


def expected_of(text: str, strict: int) -> list[Any]:
    found = ADDRESSES[text]
    address, stop = found[2:] if strict and len(found) > 2 else found[:2]
    return [INVALID if address is None else 0, stop, address or UNTOUCHED]


def both_widths(text: str, strict: int) -> list[Any]:
    seen = []
    for routine, width in ((RtlIpv4StringToAddressA, 1), (RtlIpv4StringToAddressW, 2)):
        source, address, end = filled(100), address_of(*UNTOUCHED), PVOID()
        write_bytes(source, (text + "\0").encode("latin-1" if width == 1 else "utf-16-le"))
        status = routine(source, strict, end, address)
        seen.append([status, (end[0] - source) // width, tuple(read_bytes(address, 4))])
    assert seen[0] == seen[1]
    return seen[0]


@TO_ADDRESS.fact(
    lambda strict: {text: expected_of(text, strict) for text in ADDRESSES}, strict=[0, 1]
)
def a_text_begins_with_an_address(strict: int) -> dict[str, list[Any]]:
    return {text: both_widths(text, strict) for text in ADDRESSES}


def ex(text: str, strict: int) -> list[Any]:
    address, port = address_of(*UNTOUCHED), variable(USHORT, 0xDEAD)
    status = RtlIpv4StringToAddressExA(text, strict, address, port)
    return [status, tuple(read_bytes(address, 4)), port[0]]


def expected_of_ex(text: str, strict: int) -> list[Any]:
    status, _, address = expected_of(text, strict)
    return [INVALID if text in REST_FAILS else status, address]


@TO_ADDRESS_EX.fact(
    lambda strict: {text: expected_of_ex(text, strict) for text in ADDRESSES}, strict=[0, 1]
)
def a_whole_text_is_an_address(strict: int) -> dict[str, list[Any]]:
    return {text: ex(text, strict)[:2] for text in ADDRESSES}


PORTS: dict[str, tuple[Any, int | None]] = {
    "": (NONE, None), " ": (NONE, None), "1.1.1.1:": ((1, 1, 1, 1), None),
    "1.1.1.1+": ((1, 1, 1, 1), None), "1.1.1.1:1": ((1, 1, 1, 1), 0x100),
    "256.1.1.1:1": (NONE, None), "-1.1.1.1:1": (NONE, None), "0.0.0.0:0": ((0, 0, 0, 0), None),
    "0.0.0.0:1": ((0, 0, 0, 0), 0x100), "1.2.3.4:65535": ((1, 2, 3, 4), 65535),
    "1.2.3.4:65536": ((1, 2, 3, 4), None), "1.2.3.4:0xffff": ((1, 2, 3, 4), 65535),
    "1.2.3.4:0XfFfF": ((1, 2, 3, 4), 65535), "1.2.3.4:011064": ((1, 2, 3, 4), 0x3412),
    "1.2.3.4:1234a": ((1, 2, 3, 4), None), "1.2.3.4:1234+": ((1, 2, 3, 4), None),
    "1.2.3.4: 1234": ((1, 2, 3, 4), None), "1.2.3.4:\t1234": ((1, 2, 3, 4), None),
}  # fmt: skip


@TO_ADDRESS_EX.fact(
    {
        text: [0 if port else INVALID, address or UNTOUCHED, port or 0xDEAD]
        for text, (address, port) in PORTS.items()
    },
    strict=[0, 1],
)
def a_port_follows_a_colon_in_network_order(strict: int) -> dict[str, list[Any]]:
    return {text: ex(text, strict) for text in PORTS}


@TO_ADDRESS_EX.fact([INVALID] * 3 + [UNTOUCHED, 0xDEAD])
def without_a_pointer_nothing_is_touched() -> list[Any]:
    address, port = address_of(*UNTOUCHED), variable(USHORT, 0xDEAD)
    statuses = [
        RtlIpv4StringToAddressExA(NULL, 0, address, port),
        RtlIpv4StringToAddressExA("1.1.1.1", 0, NULL, port),
        RtlIpv4StringToAddressExA("1.1.1.1", 0, address, NULL),
    ]
    return [*statuses, tuple(read_bytes(address, 4)), port[0]]


test_fact = as_tests(RANGES, OEM, TO_TEXT, TO_ADDRESS, TO_ADDRESS_EX)
