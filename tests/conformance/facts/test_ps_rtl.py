"""Facts of notification routines, memory and string routines, and registry queries."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests, raised, text_of

NOTIFY = Facts(f"{KMTESTS}/ntos_ps/PsNotify.c")
MEMORY = Facts(f"{KMTESTS}/rtl/RtlMemory.c")
UNICODE = Facts(f"{KMTESTS}/rtl/RtlUnicodeString.c")
REGISTRY = Facts(f"{KMTESTS}/rtl/RtlRegistry.c")
NOT_FOUND = 0xC000007A
TAG = 0x74736554


# Notification routines: set (S) and removed (r), for NULL and for a routine


def set_process(routine: Any) -> int:
    return PsSetCreateProcessNotifyRoutine(routine, FALSE)


def remove_process(routine: Any) -> int:
    return PsSetCreateProcessNotifyRoutine(routine, TRUE)


KINDS: dict[str, Any] = {
    "process": (set_process, remove_process),
    "thread": (PsSetCreateThreadNotifyRoutine, PsRemoveCreateThreadNotifyRoutine),
    "image": (PsSetLoadImageNotifyRoutine, PsRemoveLoadImageNotifyRoutine),
}


@NOTIFY.fact([NOT_FOUND, STATUS_SUCCESS, STATUS_SUCCESS, NOT_FOUND],
             kind=list(KINDS), null=[True, False])  # fmt: skip
def a_notify_routine_is_removed_once_for_each_time_it_was_set(kind: str, null: bool) -> list[int]:
    def notify(*arguments: Any) -> None:
        pass

    routine = NULL if null else notify
    add, remove = KINDS[kind]
    return [remove(routine), add(routine), remove(routine), remove(routine)]


@NOTIFY.fact([STATUS_SUCCESS] * 4 + [NOT_FOUND], kind=["thread", "image"])
def a_thread_or_image_routine_may_be_set_twice(kind: str) -> list[int]:
    def notify(*arguments: Any) -> None:
        pass

    add, remove = KINDS[kind]
    return [add(notify), add(notify), remove(notify), remove(notify), remove(notify)]


# Memory

LEVELS = [PASSIVE_LEVEL, HIGH_LEVEL]


def block_of(data: bytes) -> int:
    block = ExAllocatePoolWithTag(NonPagedPool, max(len(data), 16), TAG)
    write_bytes(block, data)
    return block


MOVES = {"move": RtlMoveMemory, "copy": RtlCopyMemory}
PATTERN = b"\x12\x34" * 64 + b"\x56\x78" * 192


def moved(target: int, source: int, size: int) -> bytes:
    data = bytearray(PATTERN)
    data[target : target + size] = PATTERN[source : source + size]
    return bytes(data)


@MEMORY.fact(
    lambda routine, target, source, size, level: moved(target, source, size),
    routine=list(MOVES), target=[13, 78], source=[62, 43], size=[95, 107], level=LEVELS,
)  # fmt: skip
def overlapping_memory_is_moved_as_it_was(
    routine: str, target: int, source: int, size: int, level: int
) -> bytes:
    block = block_of(PATTERN)
    KeRaiseIrql(level)
    MOVES[routine](block + target, block + source, size)
    return read_bytes(block, len(PATTERN))


NOTHING: dict[str, Any] = {
    "RtlMoveMemory": lambda: RtlMoveMemory(NULL, NULL, 0),
    "RtlCopyMemory": lambda: RtlCopyMemory(NULL, NULL, 0),
    "RtlCompareMemory": lambda: RtlCompareMemory(NULL, NULL, 0),
    "RtlCompareMemoryUlong": lambda: RtlCompareMemoryUlong(NULL, 0, 0x55555555),
    "RtlZeroMemory": lambda: RtlZeroMemory(NULL, 0),
    "RtlSecureZeroMemory": lambda: RtlSecureZeroMemory(NULL, 0),
    "RtlFillMemory": lambda: RtlFillMemory(NULL, 0, 0x55),
}


@MEMORY.fact(0, routine=list(NOTHING))
def no_bytes_at_NULL_are_no_fault(routine: str) -> int:
    return raised(NOTHING[routine])


CYCLE = b"\x12\x34\x56\x78\x9a\xbc\xde\xf0"
TWICE = CYCLE * 31 + b"\x12" + CYCLE * 32 + b"\x12" * 7
"""Its bytes from 249 on are those from 0 on, for 249 bytes."""


@MEMORY.fact(
    lambda length, level: [min(length, 249), length <= 249], length=[248, 249, 250], level=LEVELS
)
def comparing_counts_the_bytes_that_are_equal(length: int, level: int) -> list[Any]:
    block = block_of(TWICE)
    KeRaiseIrql(level)
    count = RtlCompareMemory(block, block + 249, length)
    return [count, bool(RtlEqualMemory(block, block + 249, length))]


@MEMORY.fact(
    lambda at, length, value: {
        (5, 4, 0x00555555): 4, (5, 4, 0x55555555): 0,
    }.get((at, length, value), length // 4 * 4 if at < 5 and value == 0x55555555 else 0),
    at=[0, 1, 2, 3, 5], length=[4], value=[0x55555555, 0x00555555],
)  # fmt: skip
def comparing_with_a_ulong_needs_no_alignment(at: int, length: int, value: int) -> int:
    block = block_of(b"\x55" * 8 + bytes(24))
    return RtlCompareMemoryUlong(block + at, length, value)


@MEMORY.fact(lambda length: length // 4 * 4, length=[1, 2, 3, 5])
def comparing_with_a_ulong_looks_at_whole_ones(length: int) -> int:
    return RtlCompareMemoryUlong(block_of(b"\x55" * 8), length, 0x55555555)


@MEMORY.fact(
    lambda routine, count, level: bytes(count) + b"\x11" * (64 - count),
    routine=["RtlZeroMemory", "RtlSecureZeroMemory"], count=[1, 63], level=LEVELS,
)  # fmt: skip
def zeroing_stops_where_it_should(routine: str, count: int, level: int) -> bytes:
    block = block_of(b"\x11" * 64)
    KeRaiseIrql(level)
    {"RtlZeroMemory": RtlZeroMemory, "RtlSecureZeroMemory": RtlSecureZeroMemory}[routine](
        block, count
    )
    return read_bytes(block, 64)


@MEMORY.fact(b"\x55" * 3 + b"\x88" * 7 + b"\x55" * 22 + b"\xaa" * 32, level=LEVELS)
def filling_touches_its_bytes_only(level: int) -> bytes:
    block = block_of(bytes(64))
    KeRaiseIrql(level)
    RtlFillMemory(block, 32, 0x55)
    RtlFillMemory(block + 32, 32, 0xAA)
    RtlFillMemory(block + 3, 7, 0x88)
    return read_bytes(block, 64)


# Upper case


@UNICODE.fact(lambda text: [STATUS_SUCCESS, 2 * len(text), 2 * len(text), True, text.upper()],
              text=["", "\0", "a", "Mixed", "\u00e9"])  # fmt: skip
def an_upper_case_copy_has_no_room_for_a_terminator(text: str) -> list[Any]:
    lower, upper = UNICODE_STRING(), UNICODE_STRING()
    lower.Buffer = block_of(text.encode("utf-16-le") + b"\0\0")
    lower.Length = lower.MaximumLength = 2 * len(text)
    RtlFillMemory(upper, 16, 0x55)
    status = RtlUpcaseUnicodeString(upper, lower, TRUE)
    found = [status, upper.Length, upper.MaximumLength, int(upper.Buffer) != 0, text_of(upper)]
    RtlFreeUnicodeString(upper)
    return found


# RtlQueryRegistryValues with REG_MULTI_SZ

MULTI = {
    "nothing": (b"", []),
    "an empty string": ("\0", []),
    "an empty string and the end": ("\0\0", [""]),
    "one string": ("String\0", ["String"]),
    "one string and the end": ("String\0\0", ["String"]),
    "two strings": ("String1\0String2\0", ["String1", "String2"]),
    "two strings and the end": ("String1\0String2\0\0", ["String1", "String2"]),
    "an empty string between": ("String1\0\0String3\0", ["String1", "", "String3"]),
    "an empty string between and the end": (
        "String1\0\0String3\0\0", ["String1", "", "String3"]
    ),
}  # fmt: skip
KEY = "\\Registry\\Machine\\Software\\RtlRegistryKmtestKey"
DEFAULTS = {**MULTI, "an empty string and the end": ("\0\0", [])}
AUTOMATIC = {
    "an empty string and the end": [],
    "one string and the end": ["String"],
    "two strings and the end": ["String1", "String2"],
    "an empty string between and the end": ["String1"],
}


def wide(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-16-le")


def query(value: bytes | None, default: tuple[int, bytes, int] | None = None) -> Any:
    """(status, calls) of a query for TestValue; a value to set first, or a default."""
    attributes, handle = OBJECT_ATTRIBUTES(), HANDLE()
    InitializeObjectAttributes(
        attributes, UNICODE_STRING(KEY), OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL
    )
    ZwCreateKey(handle, KEY_ALL_ACCESS, attributes, 0, NULL, REG_OPTION_VOLATILE, NULL)
    if value is not None:
        name = UNICODE_STRING("TestValue")
        ZwSetValueKey(handle[0], name, 0, REG_MULTI_SZ, block_of(value), len(value))
    calls = []

    def routine(Name: Any, Type: Any, Data: Any, Length: Any, Context: Any, Entry: Any) -> int:
        calls.append((Type, read_bytes(int(Data), Length).decode("utf-16-le")))
        return STATUS_SUCCESS

    size = sizeof(RTL_QUERY_REGISTRY_TABLE)
    table = cast(block_of(bytes(2 * size)), RTL_QUERY_REGISTRY_TABLE)
    table[0].QueryRoutine = routine
    table[0].Name = block_of(wide("TestValue\0"))
    if default is not None:
        table[0].DefaultType = default[0]
        table[0].DefaultData = block_of(default[1])
        table[0].DefaultLength = default[2]
    status = RtlQueryRegistryValues(RTL_REGISTRY_HANDLE, int(handle[0]), table, NULL, NULL)
    ZwDeleteKey(handle[0])
    return status, calls


def expected_calls(strings: list[str]) -> Any:
    return STATUS_SUCCESS, [(REG_SZ, text + "\0") for text in strings]


@REGISTRY.fact(lambda value: expected_calls(MULTI[value][1]), value=list(MULTI))
def each_string_of_a_multiple_value_is_handed_over_as_one_string(value: str) -> Any:
    return query(wide(MULTI[value][0]))


@REGISTRY.fact((STATUS_SUCCESS, []))
def a_value_that_is_not_there_without_default_calls_nothing() -> Any:
    return query(None)


@REGISTRY.fact(lambda value: expected_calls(DEFAULTS[value][1]), value=list(DEFAULTS)[1:])
def a_default_of_several_strings_is_taken_apart_alike(value: str) -> Any:
    data = wide(DEFAULTS[value][0])
    return query(None, (REG_MULTI_SZ, data, len(data)))


@REGISTRY.fact(lambda value: expected_calls(AUTOMATIC[value]), value=list(AUTOMATIC))
def a_default_without_length_ends_at_its_first_empty_string(value: str) -> Any:
    return query(None, (REG_MULTI_SZ, wide(MULTI[value][0]), 0))


test_fact = as_tests(NOTIFY, MEMORY, UNICODE, REGISTRY)
