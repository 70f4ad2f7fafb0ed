"""Typed addresses: structures that drivers declare, pointers, arrays, unions, casts."""

import pytest

from ntsim.wdm import *

# Layout of a driver's own structures: natural alignment, as the x64 compiler lays them out


class SMALL(Structure):
    a: UCHAR
    b: ULONG
    c: UCHAR


class MIXED(Structure):
    Flag: BOOLEAN
    Event: KEVENT
    Count: USHORT
    Name: UNICODE_STRING
    Codes: UCHAR * 5
    Pointer: PVOID


class NODE(Structure):
    Next: POINTER("NODE")
    Value: LONG
    Small: SMALL


class NUMBERS(Structure, union=True):
    Whole: ULONGLONG
    Low: ULONG
    Bytes: UCHAR * 8


@pytest.mark.parametrize(
    ("structure", "size", "offsets"),
    [
        (SMALL, 12, {"a": 0, "b": 4, "c": 8}),
        (
            MIXED,
            72,
            {"Flag": 0, "Event": 8, "Count": 32, "Name": 40, "Codes": 56, "Pointer": 64},
        ),
        (NODE, 24, {"Next": 0, "Value": 8, "Small": 12, "Small.b": 16}),
        (NUMBERS, 8, {"Whole": 0, "Low": 0, "Bytes": 0}),
    ],
)
def test_a_declared_structure_has_the_compilers_layout(structure, size: int, offsets) -> None:
    assert sizeof(structure) == size
    assert {name: FIELD_OFFSET(structure, name) for name in offsets} == offsets


def test_fields_are_read_and_written_in_memory(value_of) -> None:
    def body() -> tuple:
        node = NODE()
        node.Value = -5
        node.Small.b = 0x1_2345_6789
        node.Small.c = 300
        return read_bytes(node, 24), node.Value, node.Small.b, node.Small.c

    expected = b"\0" * 8 + b"\xfb\xff\xff\xff" + b"\0" * 4 + b"\x89\x67\x45\x23" + b"\x2c\0\0\0"
    assert value_of(body) == (expected, -5, 0x2345_6789, 300 & 0xFF)


def test_a_linked_list_is_walked_through_typed_pointers(value_of) -> None:
    def body() -> list[int]:
        nodes = [NODE() for _ in range(3)]
        for number, node in enumerate(nodes):
            node.Value = number
            node.Next = nodes[number + 1] if number < 2 else NULL
        at, seen = nodes[0], []
        while at:
            seen.append(at.Value)
            at = at.Next
        return seen

    assert value_of(body) == [0, 1, 2]


def test_a_union_shares_its_bytes(value_of) -> None:
    def body() -> tuple:
        numbers = NUMBERS()
        numbers.Whole = 0x1122_3344_5566_7788
        return numbers.Low, numbers.Bytes[7], [numbers.Bytes[i] for i in range(2)]

    assert value_of(body) == (0x55667788, 0x11, [0x88, 0x77])


def test_arrays_are_indexed_and_assigned_whole(value_of) -> None:
    def body() -> tuple:
        mixed = MIXED()
        mixed.Codes = b"\x01\x02\x03"
        mixed.Codes[4] = 9
        array = (ULONG * 4)()
        array[2] = 7
        return read_bytes(mixed.Codes, 5), [array[i] for i in range(4)], array + 8 == array + 8

    assert value_of(body) == (b"\x01\x02\x03\0\x09", [0, 0, 7, 0], True)


def test_a_value_too_long_for_an_array_field_is_refused(value_of) -> None:
    def body() -> str:
        try:
            MIXED().Codes = b"123456"
        except ValueError as error:
            return str(error)
        return ""

    assert "do not fit" in value_of(body)


def test_a_field_that_does_not_exist_is_an_attribute_error(value_of) -> None:
    def body() -> list[str]:
        found = []
        node = NODE()
        for use in (lambda: node.Valu, lambda: setattr(node, "Valu", 1)):
            try:
                use()
            except AttributeError as error:
                found.append(str(error))
        return found

    assert value_of(body) == ["'NODE' object has no attribute 'Valu'"] * 2


def test_a_structure_is_copied_by_assignment(value_of) -> None:
    def body() -> tuple:
        one, two = NODE(), NODE()
        one.Small.a, one.Small.b = 1, 2
        two.Small = one.Small
        one.Small.b = 3
        return two.Small.a, two.Small.b

    assert value_of(body) == (1, 2)


@pytest.mark.parametrize("value", ["text", 1.5, b"bytes", [1]])
def test_what_is_no_number_cannot_be_stored_in_a_field(value_of, value) -> None:
    def body() -> bool:
        try:
            NODE().Value = value
        except TypeError:
            return True
        return False

    assert value_of(body) is True


def test_a_structure_may_extend_another(value_of) -> None:
    class LARGER(SMALL):
        d: ULONGLONG

    def body() -> tuple:
        larger = LARGER()
        larger.b, larger.d = 5, 6
        return sizeof(LARGER), FIELD_OFFSET(LARGER, "d"), cast(larger, POINTER(SMALL)).b, larger.d

    assert value_of(body) == (24, 16, 5, 6)


# Pointers


def test_pointer_arithmetic_counts_bytes_and_indexing_items(value_of) -> None:
    def body() -> tuple:
        array = (NODE * 3)()
        return array + 24 == array[1], array[2] - array, (array + 48).Value, array[1] - array[0]

    assert value_of(body) == (True, 48, 0, 24)


def test_null_is_zero_false_and_faults_at_the_fields_offset(value_of) -> None:
    def body() -> tuple:
        null = cast(NULL, POINTER(NODE))
        try:
            null.Small.b  # noqa: B018
        except StructuredException as e:
            return null == 0, bool(null), e.ExceptionInformation
        return ()

    assert value_of(body) == (True, False, (0, 16))


def test_a_cast_changes_the_pointee_not_the_address(value_of) -> None:
    def body() -> tuple:
        node = NODE()
        node.Value = 0x01020304
        as_bytes = cast(node + 8, PUCHAR)
        plain = cast(node, PVOID)
        return as_bytes[0], as_bytes[3], plain == node, type(plain) is int

    assert value_of(body) == (4, 1, True, True)


def test_containing_record_finds_the_structure_around_a_field(value_of) -> None:
    def body() -> bool:
        mixed = MIXED()
        return CONTAINING_RECORD(mixed.Event, MIXED, "Event") == mixed

    assert value_of(body) is True


def test_a_routine_is_stored_as_its_address(value_of) -> None:
    def body() -> tuple:
        def routine() -> None: ...

        mixed = MIXED()
        mixed.Pointer = routine
        first = mixed.Pointer
        mixed.Pointer = routine
        return first != 0, mixed.Pointer == first

    assert value_of(body) == (True, True)


def test_scalar_variables_are_pointers_to_themselves(value_of) -> None:
    def body() -> tuple:
        number, handle = LONG(), HANDLE()
        number[0] = -1
        handle[0] = (1 << 64) - 4
        return number[0], read_bytes(number, 4), handle[0], sizeof(number)

    assert value_of(body) == (-1, b"\xff" * 4, (1 << 64) - 4, 4)


def test_variables_of_a_routine_are_zeroed_and_reused_after_it_returns(value_of) -> None:
    def body() -> tuple:
        seen = []

        def routine(Dpc, Context, One, Two) -> None:
            variable = (UCHAR * 64)()
            seen.append((int(variable), read_bytes(variable, 64) == bytes(64)))
            write_bytes(variable, b"\xff" * 64)

        dpc = KDPC()
        KeInitializeDpc(dpc, routine, NULL)
        for _ in range(2):
            KeInsertQueueDpc(dpc, NULL, NULL)
        return seen

    first, second = value_of(body, processors=1)
    assert first == second
    assert first[1] is True


def test_unicode_strings_are_counted_and_terminated(value_of) -> None:
    def body() -> tuple:
        string = UNICODE_STRING("Größe")
        return (
            string.Length,
            string.MaximumLength,
            read_bytes(string.Buffer, string.MaximumLength).decode("utf-16-le"),
        )

    assert value_of(body) == (10, 12, "Größe\0")


def test_a_structure_type_is_called_for_storage_only(value_of) -> None:
    def body() -> list[str]:
        found = []
        for use in (lambda: KEVENT(5), lambda: NODE(NULL), lambda: UNICODE_STRING(5)):
            try:
                use()
            except TypeError as error:
                found.append(str(error))
        return found

    texts = value_of(body)
    assert "it is storage for one KEVENT" in texts[0]
    assert "cast(address, PNODE)" in texts[1]
    assert "takes a str" in texts[2]


def test_iterating_a_pointer_says_what_to_do(value_of) -> None:
    def body() -> str:
        try:
            list(cast(KEVENT(), PUCHAR))
        except TypeError as error:
            return str(error)
        return ""

    assert "read_bytes(p, n)" in value_of(body)


@pytest.mark.parametrize("pool", [NonPagedPoolNx, PagedPool])
def test_guarded_and_raw_memory_behave_alike(value_of, pool: int) -> None:
    def body() -> tuple:
        mixed = cast(ExAllocatePoolZero(pool, MIXED.size, 1), POINTER(MIXED))
        mixed.Flag = TRUE
        mixed.Count = 0x1_2345
        mixed.Event.Header.SignalState = -2
        mixed.Codes = b"abc"
        mixed.Pointer = mixed
        mixed.Name.Length = 8
        return (
            mixed.Flag,
            mixed.Count,
            mixed.Event.Header.SignalState,
            read_bytes(mixed.Codes, 3),
            mixed.Pointer == mixed,
            mixed.Name.Length,
        )

    assert value_of(body) == (1, 0x2345, -2, b"abc", True, 8)


def test_a_structure_across_pages_of_scattered_frames_is_whole(value_of) -> None:
    class LONG_ONE(Structure):
        Before: UCHAR * 4090
        Word: ULONGLONG

    def body() -> tuple:
        found = []
        for pool in (NonPagedPoolNx, PagedPool):
            made = cast(ExAllocatePoolZero(pool, 8192, 1) + 2, POINTER(LONG_ONE))
            made.Word = 0x0102_0304_0506_0708
            found.append((made.Word, read_bytes(made + FIELD_OFFSET(LONG_ONE, "Word"), 2)))
        return found

    assert value_of(body) == [(0x0102_0304_0506_0708, b"\x08\x07")] * 2
