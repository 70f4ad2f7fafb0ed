"""Macros, raising routines and the kernel's variables in a Python driver."""

from typing import Any

import pytest

from ntsim.abi import ntstatus
from ntsim.wdm import *


@pytest.mark.parametrize(
    ("raises", "code"),
    [
        (lambda: ExRaiseAccessViolation(), ntstatus.STATUS_ACCESS_VIOLATION),
        (lambda: ExRaiseDatatypeMisalignment(), ntstatus.STATUS_DATATYPE_MISALIGNMENT),
        (lambda: ExRaiseStatus(STATUS_ACCESS_DENIED), ntstatus.STATUS_ACCESS_DENIED),
    ],
)
def test_raising_routines_can_be_caught(value_of: Any, raises: Any, code: int) -> None:
    def work() -> int:
        try:
            raises()
        except StructuredException as e:
            return e.ExceptionCode
        return 0

    assert value_of(work) == code


def test_a_singly_linked_list_gives_back_what_was_pushed_last(value_of: Any) -> None:
    class RECORD(Structure):
        Link: SINGLE_LIST_ENTRY
        Number: ULONG

    def work() -> list[int]:
        head, records = SINGLE_LIST_ENTRY(), (RECORD * 2)()
        for number in range(2):
            records[number].Number = number + 1
            PushEntryList(head, records[number].Link)
        found = []
        while entry := PopEntryList(head):
            found.append(CONTAINING_RECORD(entry, RECORD, "Link").Number)
        return found

    assert value_of(work) == [2, 1]


def test_assertions_are_nothing_in_free_builds(value_of: Any) -> None:
    def work() -> bool:
        KeRaiseIrql(DISPATCH_LEVEL)
        PAGED_CODE()
        ASSERT(False)
        NT_ASSERT(False)
        KeMemoryBarrier()
        return True

    assert value_of(work)


def test_object_types_are_variables_of_the_kernel(value_of: Any) -> None:
    """ObReferenceObjectByHandle of another type: STATUS_OBJECT_TYPE_MISMATCH."""

    def work() -> tuple[int, int]:
        _, handle = ZwCreateEvent(EVENT_ALL_ACCESS, None, NotificationEvent, FALSE)
        statuses = []
        for kind in ExEventObjectType[0], ExSemaphoreObjectType[0]:
            status, event = ObReferenceObjectByHandle(handle, 0, kind, KernelMode, None)
            statuses.append(status)
            if event:
                ObDereferenceObject(event)
        ZwClose(handle)
        return statuses[0], statuses[1]

    assert value_of(work) == (STATUS_SUCCESS, STATUS_OBJECT_TYPE_MISMATCH)


def test_pseudo_handles_name_the_current_process_and_thread(value_of: Any) -> None:
    def work() -> bool:
        process = ObReferenceObjectByHandle(NtCurrentProcess(), 0, NULL, KernelMode, None)
        thread = ObReferenceObjectByHandle(ZwCurrentThread(), 0, NULL, KernelMode, None)
        same = int(process[1]) == int(PsGetCurrentProcess())
        return same and int(thread[1]) == int(KeGetCurrentThread())

    assert value_of(work)
