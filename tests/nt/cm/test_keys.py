"""The registry as drivers see it: ZwXxxKey. Source of statuses: WDK, the page of each routine."""

from ntsim.nt.kd.filter import FILTER_KEY
from ntsim.wdm import *

TAG = 0x74736554
SERVICES = "\\Registry\\Machine\\System\\CurrentControlSet\\Services"


def attributes(name: str, root: int = 0):
    """Initialized OBJECT_ATTRIBUTES."""
    made = OBJECT_ATTRIBUTES()
    made.Length = sizeof(OBJECT_ATTRIBUTES)
    made.RootDirectory = root
    made.ObjectName = UNICODE_STRING(name)
    made.Attributes = OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE
    return made


def create(name: str, root: int = 0) -> tuple[int, int, int]:
    """(status, handle, disposition)."""
    disposition = ULONG()
    status, handle = ZwCreateKey(KEY_ALL_ACCESS, attributes(name, root), 0, NULL, 0, disposition)
    return status, handle, disposition[0]


def partial(key: int, name: str, size: int = 256) -> tuple[int, int, int, bytes, int]:
    """(status, type, length, data, needed) by KeyValuePartialInformation."""
    block = ExAllocatePoolWithTag(PagedPool, 256, TAG)
    RtlZeroMemory(block, 256)
    needed = ULONG()
    status = ZwQueryValueKey(
        key, UNICODE_STRING(name), KeyValuePartialInformation, block, size, needed
    )
    info = cast(block, KEY_VALUE_PARTIAL_INFORMATION)
    found = (status, info.Type, info.DataLength, read_bytes(block + 12, info.DataLength))
    ExFreePoolWithTag(block, TAG)
    return (*found, needed[0])


def test_the_service_key_of_the_registry_path_can_be_opened(value_of) -> None:
    def work(driver, path) -> list[int]:
        text = read_bytes(path.Buffer, path.Length).decode("utf-16-le")
        create(text)
        status, handle = ZwOpenKey(KEY_READ, attributes(text.upper()))
        return [status, ZwClose(handle)]

    assert value_of(work) == [0, 0]


def test_creating_makes_one_level_and_opens_what_is_there(value_of) -> None:
    def work() -> list[object]:
        first = create(f"{SERVICES}\\Sample")
        again = create(f"{SERVICES}\\SAMPLE")
        below = create("Parameters", first[1])
        deep = create(f"{SERVICES}\\a\\b\\c")
        return [first[0], first[2], again[0], again[2], below[0], deep[0]]

    assert value_of(work) == [
        0,
        REG_CREATED_NEW_KEY,
        0,
        REG_OPENED_EXISTING_KEY,
        0,
        STATUS_OBJECT_NAME_NOT_FOUND,
    ]


def test_names_that_cannot_be_opened(value_of) -> None:
    def status(name: str, root: int = 0) -> int:
        return ZwOpenKey(KEY_READ, attributes(name, root))[0]

    def work() -> list[int]:
        return [
            status(f"{SERVICES}\\Missing"),
            status("Relative"),
            status("\\Device\\Null"),
            status("Parameters", 0xFFFFFFFF80000ABC),
        ]

    assert value_of(work) == [
        STATUS_OBJECT_NAME_NOT_FOUND,
        STATUS_OBJECT_PATH_SYNTAX_BAD,
        STATUS_OBJECT_NAME_NOT_FOUND,
        STATUS_INVALID_HANDLE,
    ]


def test_values_go_in_and_come_out(value_of) -> None:
    def work() -> list[object]:
        _, key, _ = create(f"{SERVICES}\\Sample")
        number = ULONG()
        number[0] = 0x1234
        name = UNICODE_STRING("Number")
        statuses = [ZwSetValueKey(key, name, 0, REG_DWORD, number, 4)]
        read = partial(key, "number")
        statuses += [ZwDeleteValueKey(key, name), ZwDeleteValueKey(key, name)]
        return [statuses, read]

    statuses, read = value_of(work)
    assert statuses == [0, 0, STATUS_OBJECT_NAME_NOT_FOUND]
    assert read == (0, REG_DWORD, 4, b"\x34\x12\0\0", 16)


def test_short_buffers_get_what_fits_and_the_size_needed(value_of) -> None:
    """WDK ZwQueryValueKey: STATUS_BUFFER_TOO_SMALL writes nothing, STATUS_BUFFER_OVERFLOW part."""

    def work() -> list[object]:
        _, key, _ = create(f"{SERVICES}\\Sample")
        data = ExAllocatePoolWithTag(NonPagedPool, 16, TAG)
        write_bytes(data, b"0123456789abcdef")
        ZwSetValueKey(key, UNICODE_STRING("Blob"), 0, REG_BINARY, data, 16)
        return [partial(key, "Blob", size) for size in (8, 16, 28)]

    small, part, whole = value_of(work)
    assert small == (STATUS_BUFFER_TOO_SMALL, 0, 0, b"", 28)
    assert (part[0], part[2], part[4]) == (STATUS_BUFFER_OVERFLOW, 16, 28)
    assert part[3] == b"0123" + bytes(12)
    assert whole == (0, REG_BINARY, 16, b"0123456789abcdef", 28)


def test_subkeys_are_enumerated_by_name_and_values_by_creation(value_of) -> None:
    def work() -> list[object]:
        _, key, _ = create(f"{SERVICES}\\Sample")
        for name in ("beta", "Alpha", "gamma"):
            create(name, key)
        for name in ("two", "one"):
            ZwSetValueKey(key, UNICODE_STRING(name), 0, REG_SZ, NULL, 0)
        block = ExAllocatePoolWithTag(PagedPool, 256, TAG)
        keys, values = [], []
        index = 0
        while ZwEnumerateKey(key, index, KeyBasicInformation, block, 256)[0] == 0:
            info = cast(block, KEY_BASIC_INFORMATION)
            keys.append(read_bytes(block + 16, info.NameLength).decode("utf-16-le"))
            index += 1
        index = 0
        while ZwEnumerateValueKey(key, index, KeyValueBasicInformation, block, 256)[0] == 0:
            info = cast(block, KEY_VALUE_BASIC_INFORMATION)
            values.append(read_bytes(block + 12, info.NameLength).decode("utf-16-le"))
            index += 1
        last = ZwEnumerateKey(key, 3, KeyBasicInformation, block, 256)[0]
        ZwQueryKey(key, KeyFullInformation, block, 256)
        full = cast(block, KEY_FULL_INFORMATION)
        return [keys, values, last, full.SubKeys, full.Values, full.MaxNameLen]

    keys, values, last, *counts = value_of(work)
    assert keys == ["Alpha", "beta", "gamma"]
    assert values == ["two", "one"]
    assert last == STATUS_NO_MORE_ENTRIES
    assert counts == [3, 2, 10]


def test_a_deleted_key_is_gone_for_its_handles_too(value_of) -> None:
    def work() -> list[int]:
        _, key, _ = create(f"{SERVICES}\\Sample")
        _, child, _ = create("Child", key)
        statuses = [ZwDeleteKey(key), ZwDeleteKey(child), ZwFlushKey(child), ZwDeleteKey(key)]
        return [*statuses, ZwOpenKey(KEY_READ, attributes(f"{SERVICES}\\Sample"))[0]]

    assert value_of(work) == [
        STATUS_CANNOT_DELETE,
        0,
        STATUS_KEY_DELETED,
        0,
        STATUS_OBJECT_NAME_NOT_FOUND,
    ]


def test_the_current_control_set_is_a_link(run_driver) -> None:
    done = run_driver(lambda: create(f"{SERVICES}\\Linked")[0])
    registry = done.machine.nt.cm
    key = registry.find("\\Registry\\Machine\\SYSTEM\\ControlSet001\\Services\\Linked")
    assert key is registry.find(f"{SERVICES}\\linked")
    assert key.path == "\\REGISTRY\\Machine\\SYSTEM\\ControlSet001\\Services\\Linked"


def test_the_kernels_own_view_is_typed(ntsim_machine) -> None:
    registry = ntsim_machine(processors=1).nt.cm
    for content in (5, 1 << 40, "text", ["one", "two"], b"\x01\x02"):
        registry.set(SERVICES, "value", content)
        assert registry.get(SERVICES, "VALUE") == content
    assert registry.get(FILTER_KEY, "DEFAULT") == 0xFFFFFFFF
    assert registry.get(SERVICES, "missing") is None
    assert registry.get("\\Registry\\Machine\\Nothing", "x") is None
