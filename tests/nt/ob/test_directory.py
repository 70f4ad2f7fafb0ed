"""Directories, symbolic links and ZwQueryObject.

Source: WDK ZwCreateDirectoryObject, ZwMakeTemporaryObject, ZwQuerySymbolicLinkObject,
ZwQueryObject.
"""

from ntsim.wdm import *


def attributes(text: str, flags: int = OBJ_KERNEL_HANDLE, root: int = 0):
    made = OBJECT_ATTRIBUTES()
    InitializeObjectAttributes(made, UNICODE_STRING(text), flags, root, NULL)
    return made


def create(text: str, flags: int = OBJ_KERNEL_HANDLE, root: int = 0):
    return ZwCreateDirectoryObject(DIRECTORY_ALL_ACCESS, attributes(text, flags, root))


def opens(text: str) -> int:
    Status, Handle = ZwOpenDirectoryObject(DIRECTORY_QUERY, attributes(text))
    if NT_SUCCESS(Status):
        ZwClose(Handle)
    return Status


def test_a_directory_goes_with_its_last_handle(value_of) -> None:
    def body() -> list:
        Status, Handle = create("\\Mine")
        found = [Status, create("\\mine")[0], opens("\\Mine"), opens("\\Other")]
        return [*found, ZwClose(Handle), opens("\\Mine")]

    missing = STATUS_OBJECT_NAME_NOT_FOUND
    assert value_of(body) == [0, STATUS_OBJECT_NAME_COLLISION, 0, missing, 0, missing]


def test_a_permanent_directory_stays_until_it_is_made_temporary(value_of) -> None:
    def body() -> list:
        _, Handle = create("\\Mine", OBJ_KERNEL_HANDLE | OBJ_PERMANENT)
        ZwClose(Handle)
        found = [opens("\\Mine")]
        _, Handle = ZwOpenDirectoryObject(DIRECTORY_QUERY, attributes("\\Mine"))
        found += [ZwMakeTemporaryObject(Handle), opens("\\Mine")]
        ZwClose(Handle)
        return [*found, opens("\\Mine")]

    assert value_of(body) == [0, 0, 0, STATUS_OBJECT_NAME_NOT_FOUND]


def test_devices_can_be_made_in_a_directory_of_ones_own(run_driver) -> None:
    def body(DriverObject, RegistryPath) -> list:
        create("\\Device\\Mine")
        name = UNICODE_STRING("\\Device\\Mine\\Thing")
        found = [IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)[0]]
        IoDeleteDevice(DriverObject.DeviceObject)
        return found

    assert run_driver(body).value == [0]


def test_the_root_is_a_directory_and_names_are_relative_to_a_handle(value_of) -> None:
    def body() -> list:
        Status, Root = ZwOpenDirectoryObject(DIRECTORY_QUERY, attributes("\\"))
        made, Handle = create("Mine", OBJ_KERNEL_HANDLE, Root)
        found = [Status, made, opens("\\Mine")]
        ZwClose(Handle)
        return found

    assert value_of(body) == [0, 0, 0]


def test_an_event_is_no_directory(value_of) -> None:
    def body() -> int:
        _, Handle = ZwCreateEvent(
            EVENT_ALL_ACCESS, attributes("\\BaseNamedObjects\\E"), NotificationEvent, FALSE
        )
        status = opens("\\BaseNamedObjects\\E")
        ZwClose(Handle)
        return status

    assert value_of(body) == STATUS_OBJECT_TYPE_MISMATCH


def test_a_link_tells_where_it_leads(value_of) -> None:
    def body() -> list:
        IoCreateSymbolicLink(UNICODE_STRING("\\DosDevices\\L"), UNICODE_STRING("\\Device\\X"))
        Status, Handle = ZwOpenSymbolicLinkObject(GENERIC_READ, attributes("\\DosDevices\\L"))
        target, length = UNICODE_STRING(), ULONG()
        target.Buffer, target.MaximumLength = ExAllocatePoolWithTag(PagedPool, 64, 1), 18
        found = [Status, ZwQuerySymbolicLinkObject(Handle, target, length), length[0]]
        found += [ZwQuerySymbolicLinkObject(Handle, target, NULL), target.Length]
        ZwClose(Handle)
        text = read_bytes(target.Buffer, 18).decode("utf-16-le")
        return [*found, text, IoDeleteSymbolicLink(UNICODE_STRING("\\DosDevices\\L"))]

    assert value_of(body) == [0, STATUS_BUFFER_TOO_SMALL, 20, 0, 18, "\\Device\\X", 0]


def test_a_link_made_by_handle_is_followed_and_goes_with_it(value_of) -> None:
    def body() -> list:
        Status, Handle = ZwCreateSymbolicLinkObject(
            GENERIC_READ, attributes("\\Short"), UNICODE_STRING("\\Device")
        )
        found = [Status, opens("\\Short")]
        ZwClose(Handle)
        return [*found, opens("\\Short")]

    assert value_of(body) == [0, 0, STATUS_OBJECT_NAME_NOT_FOUND]


def test_a_handle_tells_its_counts_name_and_type(value_of) -> None:
    def body() -> list:
        _, Handle = create("\\Mine")
        block, length = ExAllocatePoolWithTag(PagedPool, 0x100, 1), ULONG()
        found = [ZwQueryObject(Handle, 0, block, 0x40, length), length[0]]
        found += [ZwQueryObject(Handle, 0, block, 0x38, length), cast(block + 8, PULONG)[0]]
        found += [cast(block + 4, PULONG)[0] == DIRECTORY_ALL_ACCESS]
        found += [ZwQueryObject(Handle, 1, block, 0x100, NULL)]
        name = cast(block, PUNICODE_STRING)
        found += [read_bytes(name.Buffer, name.Length).decode("utf-16-le")]
        found += [ZwQueryObject(Handle, 2, block, 0x20, length), length[0]]
        found += [ZwQueryObject(Handle, 2, block, 0x100, NULL)]
        found += [read_bytes(name.Buffer, name.Length).decode("utf-16-le")]
        found += [ZwQueryObject(Handle, 77, block, 0x100, NULL)]
        ZwClose(Handle)
        return [*found, ZwQueryObject(Handle, 0, block, 0x38, NULL)]

    mismatch = STATUS_INFO_LENGTH_MISMATCH
    assert value_of(body) == [
        mismatch, 0x38, 0, 1, True, 0, "\\Mine", mismatch, 0x68 + 20, 0, "Directory",
        STATUS_INVALID_INFO_CLASS, STATUS_INVALID_HANDLE,
    ]  # fmt: skip
