"""RtlQueryRegistryValues and its neighbours. Source: WDK RtlQueryRegistryValues."""

from ntsim.wdm import *

TAG = 0x74736554


def table(*entries: dict[str, object]):
    """A query table in nonpaged pool, with its empty last entry."""
    size = sizeof(RTL_QUERY_REGISTRY_TABLE)
    block = ExAllocatePoolWithTag(NonPagedPool, size * (len(entries) + 1), TAG)
    RtlZeroMemory(block, size * (len(entries) + 1))
    made = cast(block, RTL_QUERY_REGISTRY_TABLE)
    for index, fields in enumerate(entries):
        for name, value in fields.items():
            setattr(made[index], name, wide(value) if isinstance(value, str) else value)
    return made


def wide(text: str) -> int:
    block = ExAllocatePoolWithTag(NonPagedPool, len(text) * 2 + 2, TAG)
    write_bytes(block, text.encode("utf-16-le") + b"\0\0")
    return block


def write(name: str, kind: int, data: bytes, path: str = "Sample") -> int:
    block = ExAllocatePoolWithTag(NonPagedPool, 64, TAG)
    write_bytes(block, data)
    return RtlWriteRegistryValue(RTL_REGISTRY_SERVICES, path, name, kind, block, len(data))


def ask(*entries: dict[str, object], context: int = 0) -> int:
    return RtlQueryRegistryValues(RTL_REGISTRY_SERVICES, "Sample", table(*entries), context, NULL)


def test_direct_queries_store_numbers_and_text(value_of) -> None:
    def work() -> list[object]:
        write("Number", REG_DWORD, b"\x07\0\0\0")
        write("Text", REG_SZ, "hello\0".encode("utf-16-le"))
        number, text = ULONG(), UNICODE_STRING()
        direct = RTL_QUERY_REGISTRY_DIRECT
        status = ask(
            {"Flags": direct, "Name": "Number", "EntryContext": number},
            {"Flags": direct, "Name": "Text", "EntryContext": text},
        )
        found = read_bytes(text.Buffer, text.Length).decode("utf-16-le")
        RtlFreeUnicodeString(text)
        return [status, number[0], found]

    assert value_of(work) == [0, 7, "hello"]


def test_a_type_check_keeps_the_wrong_type_out(value_of) -> None:
    def work() -> int:
        write("Number", REG_SZ, "not a number\0".encode("utf-16-le"))
        number = ULONG()
        flags = RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_TYPECHECK
        return ask(
            {
                "Flags": flags,
                "Name": "Number",
                "EntryContext": number,
                "DefaultType": REG_DWORD << 24,
            }
        )

    assert value_of(work) == STATUS_OBJECT_TYPE_MISMATCH


def test_defaults_and_required_values(value_of) -> None:
    def work() -> list[int]:
        write("Other", REG_DWORD, b"\x01\0\0\0")
        number, default = ULONG(), ULONG()
        default[0] = 99
        entry = {
            "Flags": RTL_QUERY_REGISTRY_DIRECT,
            "Name": "Missing",
            "EntryContext": number,
            "DefaultType": REG_DWORD,
            "DefaultData": default,
            "DefaultLength": 4,
        }
        optional = ask(entry)
        entry["Flags"] = RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_REQUIRED
        return [optional, number[0], ask(entry)]

    assert value_of(work) == [0, 99, STATUS_OBJECT_NAME_NOT_FOUND]


def test_larger_data_goes_behind_its_length_and_type(value_of) -> None:
    def work() -> list[object]:
        write("Blob", REG_BINARY, bytes(range(8)))
        block = ExAllocatePoolWithTag(NonPagedPool, 32, TAG)
        found = []
        for size in (16, -8, 12):
            write_bytes(block, (size & 0xFFFFFFFF).to_bytes(4, "little") + bytes(28))
            status = ask(
                {"Flags": RTL_QUERY_REGISTRY_DIRECT, "Name": "Blob", "EntryContext": block}
            )
            found.append((status, read_bytes(block, 16)))
        return found

    with_header, without, too_small = value_of(work)
    assert with_header == (0, b"\x08\0\0\0\x03\0\0\0" + bytes(range(8)))
    assert without == (0, bytes(range(8)) + bytes(8))
    assert too_small[0] == STATUS_BUFFER_TOO_SMALL


def test_a_query_routine_sees_every_value_and_every_string(value_of) -> None:
    def work() -> list[object]:
        write("One", REG_DWORD, b"\x01\0\0\0")
        write("Many", REG_MULTI_SZ, "a\0bc\0\0".encode("utf-16-le"))
        seen = []

        def routine(name, kind, data, length, context, entry_context) -> int:
            text = read_bytes(name, wcslen(name) * 2).decode("utf-16-le")
            seen.append((text, kind, read_bytes(data, length), context, entry_context))
            return STATUS_SUCCESS

        status = ask({"QueryRoutine": routine, "EntryContext": 5}, context=6)
        return [status, seen]

    status, seen = value_of(work)
    assert status == 0
    assert seen == [
        ("One", REG_DWORD, b"\x01\0\0\0", 6, 5),
        ("Many", REG_SZ, "a\0".encode("utf-16-le"), 6, 5),
        ("Many", REG_SZ, "bc\0".encode("utf-16-le"), 6, 5),
    ]


def test_subkeys_and_the_way_back(value_of) -> None:
    def work() -> list[int]:
        write("Level", REG_DWORD, b"\x01\0\0\0")
        write("Level", REG_DWORD, b"\x02\0\0\0", "Sample\\Below")
        top, below, again = ULONG(), ULONG(), ULONG()
        direct = RTL_QUERY_REGISTRY_DIRECT
        status = ask(
            {"Flags": direct, "Name": "Level", "EntryContext": top},
            {"Flags": RTL_QUERY_REGISTRY_SUBKEY, "Name": "Below"},
            {"Flags": direct, "Name": "Level", "EntryContext": below},
            {
                "Flags": direct | RTL_QUERY_REGISTRY_TOPKEY,
                "Name": "Level",
                "EntryContext": again,
            },
        )
        return [status, top[0], below[0], again[0]]

    assert value_of(work) == [0, 1, 2, 1]


def test_keys_by_place(value_of) -> None:
    def work() -> list[int]:
        return [
            RtlCheckRegistryKey(RTL_REGISTRY_SERVICES, "Fresh"),
            RtlCreateRegistryKey(RTL_REGISTRY_SERVICES, "Fresh"),
            RtlCheckRegistryKey(RTL_REGISTRY_SERVICES, "Fresh"),
            RtlCheckRegistryKey(RTL_REGISTRY_WINDOWS_NT, NULL),
            RtlCheckRegistryKey(77, "x"),
            write("v", REG_SZ, b""),
            RtlDeleteRegistryValue(RTL_REGISTRY_SERVICES, "Sample", "v"),
            RtlDeleteRegistryValue(RTL_REGISTRY_SERVICES, "Sample", "v"),
        ]

    missing = STATUS_OBJECT_NAME_NOT_FOUND
    assert value_of(work) == [missing, 0, 0, 0, STATUS_INVALID_PARAMETER, 0, 0, missing]
