"""Registry callbacks.

Source: WDK "Filtering Registry Calls", "Handling Notifications", CmRegisterCallbackEx,
CmSetCallbackObjectContext; wdm.h for the structures and REG_NOTIFY_CLASS.
"""

import pytest

from ntsim.wdm import *

PATH = "\\Registry\\Machine\\SOFTWARE\\Filtered"


def word(address, offset: int = 0) -> int:
    return cast(int(address) + offset, ULONGLONG)[0]


def text_at(address) -> str:
    found = cast(int(address), UNICODE_STRING)
    return read_bytes(found.Buffer, found.Length).decode("utf-16-le")


def register(routine, altitude: str = "380010", context: int = 0):
    cookie = LARGE_INTEGER()
    status = CmRegisterCallbackEx(routine, UNICODE_STRING(altitude), NULL, context, cookie, NULL)
    return status, cookie


def attributes(path: str = PATH, root: int = 0):
    made = OBJECT_ATTRIBUTES()
    InitializeObjectAttributes(
        made, UNICODE_STRING(path), OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, root, NULL
    )
    return made


def create(path: str = PATH):
    return ZwCreateKey(KEY_ALL_ACCESS, attributes(path), 0, NULL, 0, NULL)


def set_value(key, name: str = "v", value: int = 7) -> int:
    data = ULONG()
    data[0] = value
    return ZwSetValueKey(key, UNICODE_STRING(name), 0, REG_DWORD, data, 4)


def value_of_key(key, name: str = "v") -> int:
    block = ExAllocatePoolWithTag(PagedPool, 64, 0x74736554)
    status, _ = ZwQueryValueKey(key, UNICODE_STRING(name), KeyValuePartialInformation, block, 64)
    return cast(int(block) + 12, ULONG)[0] if status == STATUS_SUCCESS else -status


def test_every_operation_is_heard_before_and_after(value_of) -> None:
    def body() -> list[int]:
        heard: list[int] = []

        def called(Context, Notification, Argument) -> int:
            heard.append(int(Notification))
            return STATUS_SUCCESS

        register(called)
        _, key = create()
        set_value(key)
        value_of_key(key)
        block = ExAllocatePoolWithTag(PagedPool, 256, 0x74736554)
        ZwQueryKey(key, KeyFullInformation, block, 256)
        ZwEnumerateKey(key, 0, KeyBasicInformation, block, 256)
        ZwEnumerateValueKey(key, 0, KeyValueBasicInformation, block, 256)
        ZwFlushKey(key)
        ZwDeleteValueKey(key, UNICODE_STRING("v"))
        ZwDeleteKey(key)
        ZwClose(key)
        ZwOpenKey(KEY_READ, attributes())
        return heard

    assert value_of(body) == [
        RegNtPreCreateKeyEx, RegNtPostCreateKeyEx, RegNtPreSetValueKey, RegNtPostSetValueKey,
        RegNtPreQueryValueKey, RegNtPostQueryValueKey, RegNtPreQueryKey, RegNtPostQueryKey,
        RegNtPreEnumerateKey, RegNtPostEnumerateKey, RegNtPreEnumerateValueKey,
        RegNtPostEnumerateValueKey, RegNtPreFlushKey, RegNtPostFlushKey, RegNtPreDeleteValueKey,
        RegNtPostDeleteValueKey, RegNtPreDeleteKey, RegNtPostDeleteKey, RegNtPreKeyHandleClose,
        RegNtPostKeyHandleClose, RegNtPreOpenKeyEx, RegNtPostOpenKeyEx,
    ]  # fmt: skip


def test_what_is_to_be_set_is_in_the_structure(value_of) -> None:
    """wdm.h REG_SET_VALUE_KEY_INFORMATION; REG_POST_OPERATION_INFORMATION for the end."""

    def body() -> list:
        seen: list = []

        def called(Context, Notification, Argument) -> int:
            if Notification == RegNtPreSetValueKey:
                name = text_at(word(Argument, 8))
                kind, size = cast(int(Argument) + 0x14, ULONG)[0], word(Argument, 0x20)
                data = cast(word(Argument, 0x18), ULONG)[0]
                seen.append((int(Context), name, kind, size & 0xFFFFFFFF, data))
                seen.append(word(Argument))
                cast(int(Argument) + 0x28, ULONGLONG)[0] = 0xC0FFEE
            if Notification == RegNtPostSetValueKey:
                status = cast(int(Argument) + 8, ULONG)[0]
                seen.append((word(Argument) == seen[1], status, word(Argument, 0x20)))
            return STATUS_SUCCESS

        _, key = create()
        register(called, context=5)
        _, body_of = ObReferenceObjectByHandle(key, 0, NULL, KernelMode, NULL)
        set_value(key, "Name", 99)
        same = seen[1] == int(body_of)
        ObDereferenceObject(body_of)
        return [seen[0], same, seen[2]]

    assert value_of(body) == [(5, "Name", REG_DWORD, 4, 99), True, (True, 0, 0xC0FFEE)]


def test_opening_gives_the_name_the_access_and_then_the_object(value_of) -> None:
    """wdm.h REG_CREATE_KEY_INFORMATION."""

    def body() -> list:
        seen: list = []

        def called(Context, Notification, Argument) -> int:
            if Notification == RegNtPreOpenKeyEx:
                name = text_at(word(Argument))
                seen.append((name, cast(int(Argument) + 0x38, ULONG)[0], word(Argument, 8)))
            if Notification == RegNtPostOpenKeyEx:
                seen.append((word(Argument) != 0, cast(int(Argument) + 8, ULONG)[0]))
            return STATUS_SUCCESS

        create()
        register(called)
        ZwOpenKey(KEY_READ, attributes())
        ZwOpenKey(KEY_READ, attributes(PATH + "\\Missing"))
        return seen

    assert value_of(body) == [
        (PATH, KEY_READ, 0), (True, 0),
        (PATH + "\\Missing", KEY_READ, 0), (False, STATUS_OBJECT_NAME_NOT_FOUND),
    ]  # fmt: skip


def test_a_callback_that_refuses_stops_the_operation(value_of) -> None:
    def body() -> list[int]:
        def called(Context, Notification, Argument) -> int:
            return STATUS_ACCESS_DENIED if Notification == RegNtPreSetValueKey else STATUS_SUCCESS

        _, key = create()
        set_value(key, value=1)
        _, cookie = register(called)
        refused = set_value(key, value=2)
        CmUnRegisterCallback(cookie)
        return [refused, value_of_key(key), set_value(key, value=3), value_of_key(key)]

    assert value_of(body) == [STATUS_ACCESS_DENIED, 1, STATUS_SUCCESS, 3]


def test_bypass_before_means_done_and_bypass_after_replaces_the_status(value_of) -> None:
    def body() -> list[int]:
        mode = ["before"]

        def called(Context, Notification, Argument) -> int:
            if mode[0] == "before" and Notification == RegNtPreSetValueKey:
                return STATUS_CALLBACK_BYPASS
            if mode[0] == "after" and Notification == RegNtPostSetValueKey:
                cast(int(Argument) + 0x18, ULONG)[0] = STATUS_INSUFFICIENT_RESOURCES
                return STATUS_CALLBACK_BYPASS
            return STATUS_SUCCESS

        _, key = create()
        set_value(key, value=1)
        register(called)
        found = [set_value(key, value=2), value_of_key(key)]
        mode[0] = "after"
        return [*found, set_value(key, value=3), value_of_key(key)]

    expected = [STATUS_SUCCESS, 1, STATUS_INSUFFICIENT_RESOURCES, 3]
    assert value_of(body) == expected


def test_altitudes_order_the_callbacks_and_cannot_be_shared(value_of) -> None:
    def body() -> list:
        heard: list[str] = []
        refuse = [False]

        def named(name: str, may_refuse: bool = False):
            def called(Context, Notification, Argument) -> int:
                if Notification in (RegNtPreSetValueKey, RegNtPostSetValueKey):
                    heard.append(name)
                if may_refuse and refuse[0] and Notification == RegNtPreSetValueKey:
                    return STATUS_ACCESS_DENIED
                return STATUS_SUCCESS

            return called

        _, key = create()
        register(named("low"), "9999.5")
        register(named("high"), "410000")
        register(named("middle", True), "10000")
        taken, _ = register(named("never"), "10000")
        set_value(key)
        first = list(heard)
        heard.clear()
        refuse[0] = True
        set_value(key)
        return [taken, first, heard]

    order = ["high", "middle", "low"]
    assert value_of(body) == [
        STATUS_FLT_INSTANCE_ALTITUDE_COLLISION, [*order, *order[::-1]],
        ["high", "middle", "high"],
    ]  # fmt: skip


def test_a_context_stays_with_the_key_until_it_is_cleaned_up(value_of) -> None:
    def body() -> list:
        seen: list = []

        def called(Context, Notification, Argument) -> int:
            if Notification == RegNtPreQueryKey:
                seen.append(word(Argument, 0x30))
            if Notification == RegNtCallbackObjectContextCleanup:
                seen.append(("cleanup", word(Argument, 8)))
            return STATUS_SUCCESS

        _, cookie = register(called)
        _, key = create()
        _, body_of = ObReferenceObjectByHandle(key, 0, NULL, KernelMode, NULL)
        old = PVOID()
        done = [CmSetCallbackObjectContext(body_of, cookie, 0x55, old), old[0]]
        done += [CmSetCallbackObjectContext(body_of, cookie, 0x66, old), old[0]]
        block = ExAllocatePoolWithTag(PagedPool, 256, 0x74736554)
        ZwQueryKey(key, KeyFullInformation, block, 256)
        ObDereferenceObject(body_of)
        ZwClose(key)
        return [*done, *seen]

    assert value_of(body) == [0, 0, 0, 0x55, 0x66, ("cleanup", 0x66)]


def test_a_keys_full_path_and_the_version(value_of) -> None:
    def body() -> list:
        cookie = register(lambda *_: STATUS_SUCCESS)[1]
        _, key = create()
        _, body_of = ObReferenceObjectByHandle(key, 0, NULL, KernelMode, NULL)
        name, major, minor = PVOID(), ULONG(), ULONG()
        status = CmCallbackGetKeyObjectIDEx(cookie, body_of, NULL, name, 0)
        text = text_at(name[0])
        CmCallbackReleaseKeyObjectIDEx(name[0])
        bad = CmCallbackGetKeyObjectIDEx(cookie, PsGetCurrentProcess(), NULL, name, 0)
        CmGetCallbackVersion(major, minor)
        return [status, text.upper(), bad, (major[0], minor[0])]

    expected = [STATUS_SUCCESS, PATH.upper(), STATUS_INVALID_PARAMETER, (1, 1)]
    assert value_of(body) == expected


@pytest.mark.parametrize("cookie", [0, 12345])
def test_a_cookie_that_is_none_cannot_be_unregistered(value_of, cookie: int) -> None:
    def body() -> int:
        made = LARGE_INTEGER()
        made.QuadPart = cookie
        return CmUnRegisterCallback(made)

    assert value_of(body) == STATUS_INVALID_PARAMETER
