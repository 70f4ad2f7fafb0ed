"""Reference counts, handles and types of objects."""

import pytest

from ntsim.wdm import *

ALL_BITS = (1 << 64) - 1


def thread_and_handle():
    """A running thread that ends when its event is set: (handle, body, event)."""
    event = cast(ExAllocatePoolWithTag(NonPagedPoolNx, KEVENT.size, 1), PKEVENT)
    KeInitializeEvent(event, NotificationEvent, FALSE)

    def worker(Context) -> None:
        KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL)

    _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, worker, NULL)
    _, body = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
    return handle, body, event


def test_references_return_the_new_count(value_of) -> None:
    def body() -> list[int]:
        _, thread, _ = thread_and_handle()
        first = ObReferenceObject(thread)
        steps = [
            ObReferenceObject(thread),
            ObDereferenceObject(thread),
            ObDereferenceObject(thread),
        ]
        return [count - first for count in steps]

    assert value_of(body) == [1, 0, -1]


def test_a_handle_counts_as_a_reference(value_of) -> None:
    def body() -> int:
        handle, thread, _ = thread_and_handle()
        before = ObReferenceObject(thread)
        ZwClose(handle)
        return ObReferenceObject(thread) - before

    assert value_of(body) == 0


def test_referencing_by_handle_adds_one(value_of) -> None:
    def body() -> list[int]:
        handle, thread, _ = thread_and_handle()
        before = ObReferenceObject(thread)
        status, again = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        return [status, again - thread, ObReferenceObject(thread) - before]

    assert value_of(body) == [0, 0, 2]


@pytest.mark.parametrize("handle", [0, 4 * 4000, 0xFFFF_FFFF_8000_4000, 0x7FFF_FFFF])
def test_a_handle_that_is_not_one_is_invalid(value_of, handle: int) -> None:
    def body() -> tuple:
        status, object_ = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        return status, int(object_), ZwClose(handle)

    assert value_of(body) == (STATUS_INVALID_HANDLE, 0, STATUS_INVALID_HANDLE)


def test_the_pseudo_handles_name_the_running_thread_and_process(value_of) -> None:
    def body() -> list[bool]:
        _, process = ObReferenceObjectByHandle(ALL_BITS, 0, NULL, KernelMode, NULL)
        _, thread = ObReferenceObjectByHandle(ALL_BITS - 1, 0, NULL, KernelMode, NULL)
        return [process == PsGetCurrentProcess(), thread == KeGetCurrentThread()]

    assert value_of(body) == [True, True]


def test_a_closed_handle_is_gone(value_of) -> None:
    def body() -> list[int]:
        handle, _, _ = thread_and_handle()
        return [ZwClose(handle), ZwClose(handle)]

    assert value_of(body) == [STATUS_SUCCESS, STATUS_INVALID_HANDLE]


def test_a_kernel_handle_has_its_upper_bits_set_and_lives_in_the_system_process(value_of) -> None:
    def body() -> list[int]:
        attributes = OBJECT_ATTRIBUTES()
        attributes.Length = OBJECT_ATTRIBUTES.size
        attributes.Attributes = OBJ_KERNEL_HANDLE
        _, handle = PsCreateSystemThread(0, attributes, NULL, NULL, lambda c: None, NULL)
        return [handle >> 31, ZwClose(handle)]

    assert value_of(body) == [0x1_FFFF_FFFF, 0]


def test_dereferencing_too_often_bugchecks_0x18(bugcheck_of) -> None:
    """Parameters: the object's type, the object."""
    seen = []

    def body() -> None:
        handle, thread, event = thread_and_handle()
        seen.append(int(thread))
        KeSetEvent(event, 0, FALSE)
        KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)
        ZwClose(handle)
        for _ in range(8):
            ObDereferenceObject(thread)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[1]) == (0x18, seen[0])


def test_dereferencing_what_is_no_object_bugchecks_0x18(bugcheck_of) -> None:
    seen = []

    def body() -> None:
        seen.append(ExAllocatePoolWithTag(NonPagedPoolNx, 256, 1) + 0x80)
        RtlZeroMemory(seen[0] - 0x80, 256)
        ObDereferenceObject(seen[0])

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[1]) == (0x18, seen[0])


def test_an_ended_thread_stays_an_object_as_long_as_it_is_referenced(value_of) -> None:
    def body() -> list[int]:
        _, thread, event = thread_and_handle()
        KeSetEvent(event, 0, FALSE)
        KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)
        return [PsIsThreadTerminating(thread), PsGetThreadExitStatus(thread)]

    assert value_of(body) == [True, STATUS_SUCCESS]
