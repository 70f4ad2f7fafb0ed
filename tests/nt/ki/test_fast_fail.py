"""int 29h: corrupt lists and stacks, 0x139."""

import pytest

from ntsim.abi.ke import KTRAP_FRAME
from ntsim.abi.rtl import EXCEPTION_RECORD
from ntsim.errors import BugCheck
from ntsim.intrin import *
from ntsim.wdm import *


def linked():
    """A list head and three entries in it."""
    head, entries = LIST_ENTRY(), [LIST_ENTRY() for _ in range(3)]
    InitializeListHead(head)
    for entry in entries:
        InsertTailList(head, entry)
    return head, entries


def test_removing_an_entry_twice_bugchecks_0x139_with_3(bugcheck_of) -> None:
    def body() -> None:
        _, entries = linked()
        RemoveEntryList(entries[1])
        RemoveEntryList(entries[1])

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0], stop.parameters[3]) == (0x139, 3, 0)


@pytest.mark.parametrize(
    "touch",
    [
        lambda head, entries: InsertTailList(head, LIST_ENTRY()),
        lambda head, entries: InsertHeadList(head, LIST_ENTRY()),
        lambda head, entries: RemoveHeadList(head),
        lambda head, entries: RemoveTailList(head),
        lambda head, entries: RemoveEntryList(entries[0]),
    ],
    ids=["insert tail", "insert head", "remove head", "remove tail", "remove entry"],
)
def test_every_list_routine_checks_the_neighbours_links(bugcheck_of, touch) -> None:
    def body() -> None:
        head, entries = linked()
        for entry in entries:
            entry.Flink, entry.Blink = entry, entry
        touch(head, entries)
        RemoveHeadList(head)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0]) == (0x139, 3)


def test_the_parameters_lead_to_trap_frame_and_exception_record(ntsim_machine) -> None:
    machine = ntsim_machine()

    def DriverEntry(DriverObject, RegistryPath) -> None:
        _, entries = linked()
        RemoveEntryList(entries[1])
        RemoveEntryList(entries[1])

    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    _, frame_va, record_va, _ = caught.value.parameters
    record = EXCEPTION_RECORD.at(machine.nt.mmu, record_va)
    assert record.ExceptionCode & 0xFFFFFFFF == STATUS_STACK_BUFFER_OVERRUN
    assert (record.NumberParameters, record.ExceptionInformation[0]) == (1, 3)
    frame = KTRAP_FRAME.at(machine.nt.mmu, frame_va)
    assert (frame.Rcx, frame.SegCs) == (3, 0x10)
    assert frame.Rip == record.ExceptionAddress != 0


def test_a_corrupt_list_cannot_be_caught(bugcheck_of) -> None:
    def body() -> None:
        _, entries = linked()
        try:
            RemoveEntryList(entries[1])
            RemoveEntryList(entries[1])
        except BaseException:
            DbgPrint("not me\n")

    assert bugcheck_of(body).code == 0x139


def test_restoring_a_stack_whose_frame_has_returned_bugchecks_0x139_with_4(bugcheck_of) -> None:
    def body() -> None:
        slot = PVOID()
        save_stack(slot, lambda: 1)
        restore_stack(slot, 2)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0]) == (0x139, 4)


def test_restoring_a_stack_that_was_never_saved_bugchecks_0x139_with_4(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: restore_stack(PVOID(), 2))
    assert (stop.code, stop.parameters[0]) == (0x139, 4)


def test_a_restored_stack_returns_the_value_once(value_of) -> None:
    def body() -> list:
        slot, seen = PVOID(), []

        def deeper(depth: int) -> None:
            seen.append(depth)
            if depth == 3:
                restore_stack(slot, 42)
            deeper(depth + 1)

        return [save_stack(slot, lambda: deeper(0)), seen]

    assert value_of(body) == [42, [0, 1, 2, 3]]


def test_saved_stacks_nest(value_of) -> None:
    def body() -> list:
        outer, inner = PVOID(), PVOID()

        def middle() -> int:
            first = save_stack(inner, lambda: restore_stack(inner, 1))
            save_stack(inner, lambda: restore_stack(outer, first + 10))
            return 99

        return [save_stack(outer, middle), save_stack(outer, lambda: 5)]

    assert value_of(body) == [11, 5]


def test_a_hundred_stacks_can_be_saved_and_restored_one_after_the_other(value_of) -> None:
    def body() -> int:
        slot, total = PVOID(), 0
        for number in range(300):
            total += save_stack(slot, lambda number=number: restore_stack(slot, number))
        return total

    assert value_of(body) == sum(range(300))
