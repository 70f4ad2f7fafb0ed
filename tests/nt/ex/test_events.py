"""Events by handle and by name, as drivers use them. Source: WDK ZwCreateEvent, IoCreate*Event."""

from ntsim.wdm import *

NAME = "\\BaseNamedObjects\\ready"


def attributes(name: str, flags: int = OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE):
    """Initialized OBJECT_ATTRIBUTES."""
    made = OBJECT_ATTRIBUTES()
    made.Length = sizeof(OBJECT_ATTRIBUTES)
    made.ObjectName = UNICODE_STRING(name)
    made.Attributes = flags
    return made


def milliseconds(count: int):
    """A relative timeout."""
    timeout = LARGE_INTEGER()
    timeout.QuadPart = -10_000 * count
    return timeout


def test_an_event_is_set_waited_for_and_reset(value_of) -> None:
    def work() -> list[int]:
        status, event = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, SynchronizationEvent, FALSE)
        before = LONG()
        found = [status, ZwWaitForSingleObject(event, FALSE, milliseconds(1))]
        found += [ZwSetEvent(event, before), before[0], ZwSetEvent(event, before), before[0]]
        found += [ZwWaitForSingleObject(event, FALSE, NULL)]
        found += [ZwWaitForSingleObject(event, FALSE, milliseconds(0))]
        return [*found, ZwClose(event)]

    timeout = STATUS_TIMEOUT
    assert value_of(work) == [0, timeout, 0, 0, 0, 1, 0, timeout, 0]


def test_a_named_event_is_opened_by_its_name(value_of) -> None:
    def work() -> list[int]:
        _, first = ZwCreateEvent(EVENT_ALL_ACCESS, attributes(NAME), NotificationEvent, FALSE)
        status, second = ZwOpenEvent(EVENT_ALL_ACCESS, attributes(NAME.upper()))
        ZwSetEvent(second, NULL)
        found = [status, ZwWaitForSingleObject(first, FALSE, NULL)]
        ZwClose(second)
        ZwClose(first)
        status, _ = ZwOpenEvent(EVENT_ALL_ACCESS, attributes(NAME))
        return [*found, status]

    assert value_of(work) == [0, 0, STATUS_OBJECT_NAME_NOT_FOUND]


def test_a_name_that_exists_is_a_collision_unless_it_may_be_opened(value_of) -> None:
    def work() -> list[int]:
        ZwCreateEvent(EVENT_ALL_ACCESS, attributes(NAME), NotificationEvent, FALSE)
        plain, _ = ZwCreateEvent(EVENT_ALL_ACCESS, attributes(NAME), NotificationEvent, FALSE)
        flags = OBJ_OPENIF | OBJ_KERNEL_HANDLE
        either, _ = ZwCreateEvent(EVENT_ALL_ACCESS, attributes(NAME, flags), NotificationEvent, 0)
        return [plain, either]

    assert value_of(work) == [STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_EXISTS]


def test_a_kernel_handle_has_the_sign_bit(value_of) -> None:
    def work() -> list[int]:
        _, kernel = ZwCreateEvent(EVENT_ALL_ACCESS, attributes(NAME), NotificationEvent, FALSE)
        _, plain = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)
        return [kernel >> 31, plain >> 31]

    assert value_of(work) == [0x1_FFFF_FFFF, 0]


def test_io_create_notification_event_shares_one_event(value_of) -> None:
    def work() -> list[object]:
        name = UNICODE_STRING(NAME)
        first, handle = IoCreateNotificationEvent(name)
        second, other = IoCreateNotificationEvent(name)
        state = KeReadStateEvent(first)
        KeClearEvent(first)
        same = first == second, KeReadStateEvent(second)
        return [state, *same, ZwClose(handle), ZwClose(other)]

    assert value_of(work) == [1, True, 0, 0, 0]


def test_a_handle_of_another_type_is_a_mismatch(value_of) -> None:
    def work() -> int:
        key = attributes("\\Registry\\Machine")
        _, handle = ZwOpenKey(KEY_READ, key)
        return ZwSetEvent(handle, NULL)

    assert value_of(work) == STATUS_OBJECT_TYPE_MISMATCH
