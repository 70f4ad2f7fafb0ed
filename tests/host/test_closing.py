"""Closing a machine: every stack of it ends, whatever its code thinks of that."""

import pytest

from ntsim.errors import ConfigurationError, Hang, MachineClosed
from ntsim.intrin import *
from ntsim.wdm import *


def wait_for_ever() -> None:
    event = KEVENT()
    KeInitializeEvent(event, NotificationEvent, FALSE)
    KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL)


def start(routine) -> None:
    PsCreateSystemThread(0, NULL, NULL, NULL, routine, NULL)


def pause() -> None:
    interval = LARGE_INTEGER()
    interval.QuadPart = -10_000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


def test_threads_that_wait_run_their_finally_blocks_when_the_machine_closes(run_driver) -> None:
    ended = []

    def waiter(Context) -> None:
        try:
            wait_for_ever()
        finally:
            ended.append(1)

    def body() -> None:
        for _ in range(5):
            start(waiter)
        pause()

    machine = run_driver(body).machine
    assert ended == []
    machine.close()
    assert ended == [1] * 5


def test_nothing_of_the_machine_works_while_it_closes(run_driver) -> None:
    errors = []

    def waiter(Context) -> None:
        try:
            wait_for_ever()
        finally:
            for use in (KeGetCurrentIrql, lambda: KEVENT(), lambda: read_bytes(0, 1), __rdtsc):
                try:
                    use()
                except MachineClosed:
                    errors.append("closed")

    def body() -> None:
        start(waiter)
        pause()

    run_driver(body).machine.close()
    assert errors == ["closed"] * 4


@pytest.mark.parametrize("swallowed", [Exception, BaseException])
def test_a_driver_that_swallows_exceptions_does_not_keep_a_dead_machine_alive(
    run_driver, swallowed
) -> None:
    def stubborn(Context) -> None:
        while True:
            try:
                wait_for_ever()
            except swallowed:
                DbgPrint("still here\n")

    def body() -> None:
        start(stubborn)
        pause()

    machine = run_driver(body).machine
    machine.close()
    assert machine.debug_output == []


def test_a_driver_that_swallows_everything_around_every_call_does_not_either(run_driver) -> None:
    def stubborn(Context) -> None:
        while True:
            try:
                wait_for_ever()
            except BaseException:
                try:
                    DbgPrint("still here\n")
                except BaseException:
                    continue

    def body() -> None:
        start(stubborn)
        pause()

    run_driver(body).machine.close()


def test_abandoned_stacks_end_with_the_machine_and_not_before(run_driver) -> None:
    ended = []

    def abandoned(slot) -> None:
        try:
            restore_stack(slot, 7)
        finally:
            ended.append(1)

    def body() -> list:
        slot = PVOID()
        return [save_stack(slot, lambda: abandoned(slot)), list(ended)]

    outcome = run_driver(body)
    assert outcome.value == [7, []]
    outcome.machine.close()
    assert ended == [1]


def test_stacks_frozen_by_a_bug_check_unwind_only_when_the_machine_closes(ntsim_machine) -> None:
    ended = []

    def DriverEntry(DriverObject, RegistryPath) -> None:
        try:
            KeBugCheckEx(0xE2, 0, 0, 0, 0)
        finally:
            ended.append(1)

    machine = ntsim_machine()
    with pytest.raises(Exception, match="e2"):
        machine.load_driver(DriverEntry, name="drv.sys")
    assert ended == []
    machine.close()
    assert ended == [1]


def test_a_closed_machine_stays_readable_and_refuses_to_run(run_driver) -> None:
    machine = run_driver(lambda: DbgPrint("before\n")).machine
    machine.close()
    machine.close()
    assert machine.debug_output == ["before"]
    assert machine.events
    assert machine.bugcheck is None
    with pytest.raises(ConfigurationError, match="closed"):
        machine.load_driver(lambda d, r: 0)
    with pytest.raises(ConfigurationError, match="closed"):
        machine.run_until_idle()


def test_a_machine_that_hangs_can_be_closed(ntsim_machine) -> None:
    machine = ntsim_machine(processors=8)
    with pytest.raises(Hang):
        machine.load_driver(lambda d, r: wait_for_ever(), name="drv.sys")
    machine.close()


def test_sixty_four_processors_with_waiting_threads_close(run_driver) -> None:
    def body() -> None:
        for _ in range(64):
            start(lambda Context: wait_for_ever())
        pause()

    run_driver(body, processors=64).machine.close()


def test_leaving_the_with_block_unloads_nothing_and_raises_nothing(ntsim_machine) -> None:
    said = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = lambda d: said.append("unloaded")
        return 0

    with ntsim_machine() as machine:
        machine.load_driver(DriverEntry, name="drv.sys")
    assert said == []


# Two machines in one process


def test_two_machines_do_not_touch(ntsim_machine) -> None:
    seen = {}

    def entry(machine_name):
        def DriverEntry(DriverObject, RegistryPath) -> int:
            event = KEVENT()
            KeInitializeEvent(event, NotificationEvent, machine_name == "one")
            pause()
            DbgPrint("%s\n", machine_name)
            seen[machine_name] = (
                int(event),
                KeReadStateEvent(event),
                KeQueryActiveProcessorCount(NULL),
                KeQueryInterruptTime(),
            )
            return 0

        return DriverEntry

    one, two = ntsim_machine(processors=2), ntsim_machine(processors=5)
    one.load_driver(entry("one"), name="drv.sys")
    two.load_driver(entry("two"), name="drv.sys")
    assert seen["one"][1:3] == (1, 2)
    assert seen["two"][1:3] == (0, 5)
    assert (one.debug_output, two.debug_output) == (["one"], ["two"])


def test_a_pointer_of_one_machine_reads_that_machines_memory(ntsim_machine) -> None:
    pointers = {}

    def entry(value):
        def DriverEntry(DriverObject, RegistryPath) -> int:
            memory = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 0x41414141)
            pointers[value] = cast(memory, PULONG)
            pointers[value][0] = value
            return 0

        return DriverEntry

    for value in (1, 2):
        ntsim_machine(processors=1).load_driver(entry(value), name="drv.sys")
    assert int(pointers[1]) == int(pointers[2])
    assert (pointers[1][0], pointers[2][0]) == (1, 2)


def test_closing_one_machine_leaves_the_other_running(ntsim_machine) -> None:
    one, two = ntsim_machine(), ntsim_machine()
    for machine in (one, two):
        machine.load_driver(lambda d, r: start(lambda c: wait_for_ever()), name="drv.sys")
    one.close()
    two.load_driver(lambda d, r: pause(), name="more.sys")


def test_a_crash_of_one_machine_is_not_the_others(ntsim_machine) -> None:
    one, two = ntsim_machine(), ntsim_machine()
    with pytest.raises(Exception, match="MANUALLY"):
        one.load_driver(lambda d, r: KeBugCheckEx(0xE2, 0, 0, 0, 0), name="drv.sys")
    two.load_driver(lambda d, r: 0, name="drv.sys")
    assert (one.bugcheck is None, two.bugcheck) == (False, None)


def test_a_machine_may_run_inside_another_machines_driver(ntsim_machine) -> None:
    """A test of tests: the inner machine is complete, the outer one goes on."""
    inner, outer = ntsim_machine(processors=1), ntsim_machine(processors=3)
    counts = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        inner.load_driver(
            lambda d, r: counts.append(KeQueryActiveProcessorCount(NULL)) or 0, name="inner.sys"
        )
        counts.append(KeQueryActiveProcessorCount(NULL))
        return 0

    outer.load_driver(DriverEntry, name="outer.sys")
    assert counts == [1, 3]
