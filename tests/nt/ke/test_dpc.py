"""Deferred procedure calls: order, target processors, and what they must not do."""

import pytest

from ntsim.intrin import *
from ntsim.wdm import *


def at_high_level(work) -> None:
    """Run `work` with DPCs held off, then let them run."""
    old = KfRaiseIrql(HIGH_LEVEL)
    work()
    KeLowerIrql(old)


def test_a_dpc_gets_its_context_and_arguments_at_dispatch_level(value_of) -> None:
    def body() -> list:
        seen = []
        dpc = KDPC()

        def routine(Dpc, DeferredContext, SystemArgument1, SystemArgument2) -> None:
            seen.append((Dpc == dpc, DeferredContext, SystemArgument1, SystemArgument2))
            seen.append(KeGetCurrentIrql())

        KeInitializeDpc(dpc, routine, 0x1234)
        seen.append(KeInsertQueueDpc(dpc, 1, 2))
        return seen

    assert value_of(body, processors=1) == [(True, 0x1234, 1, 2), 2, True]


def test_a_dpc_object_has_type_0x13_and_is_of_medium_importance(value_of) -> None:
    def body() -> list[int]:
        dpc = KDPC()
        KeInitializeDpc(dpc, lambda *_: None, NULL)
        return [dpc.Type, dpc.Importance, dpc.Number, dpc.DpcData]

    assert value_of(body) == [0x13, 1, 0, 0]


def test_a_queued_dpc_is_not_queued_again_and_keeps_its_first_arguments(value_of) -> None:
    def body() -> list:
        seen = []
        dpc = KDPC()
        KeInitializeDpc(dpc, lambda d, c, a, b: seen.append(a), NULL)
        at_high_level(lambda: seen.extend(KeInsertQueueDpc(dpc, i, 0) for i in (7, 8)))
        return seen

    assert value_of(body, processors=1) == [True, False, 7]


def test_dpcs_run_first_come_first_served_and_high_importance_first_of_all(value_of) -> None:
    def body() -> list:
        seen = []
        dpcs = [KDPC() for _ in range(4)]

        def queue() -> None:
            for number, dpc in enumerate(dpcs):
                KeInitializeDpc(dpc, lambda d, c, a, b: seen.append(c), number)
                if number == 3:
                    KeSetImportanceDpc(dpc, HighImportance)
                KeInsertQueueDpc(dpc, NULL, NULL)

        at_high_level(queue)
        return seen

    assert value_of(body, processors=1) == [3, 0, 1, 2]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_dpc_taken_out_of_the_queue_does_not_run(value_of, position: int) -> None:
    def body() -> list:
        seen = []
        dpcs = [KDPC() for _ in range(3)]

        def queue() -> None:
            for number, dpc in enumerate(dpcs):
                KeInitializeDpc(dpc, lambda d, c, a, b: seen.append(c), number)
                KeInsertQueueDpc(dpc, NULL, NULL)
            seen.extend(KeRemoveQueueDpc(dpcs[position]) for _ in range(2))

        at_high_level(queue)
        return seen

    left = [number for number in range(3) if number != position]
    assert value_of(body, processors=1) == [True, False, *left]


@pytest.mark.parametrize("target", [0, 1, 63])
def test_a_targeted_dpc_runs_on_its_processor(value_of, target: int) -> None:
    def body() -> int:
        event, dpc, seen = KEVENT(), KDPC(), []
        KeInitializeEvent(event, NotificationEvent, FALSE)

        def routine(*_) -> None:
            seen.append(KeGetCurrentProcessorNumber())
            KeSetEvent(event, 0, FALSE)

        KeInitializeDpc(dpc, routine, NULL)
        number = PROCESSOR_NUMBER()
        number.Number = target
        assert KeSetTargetProcessorDpcEx(dpc, number) == 0
        KeInsertQueueDpc(dpc, NULL, NULL)
        KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL)
        return seen[0]

    assert value_of(body, processors=target + 1) == target


def test_a_target_processor_that_does_not_exist_is_refused_by_the_ex_form(value_of) -> None:
    def body() -> int:
        dpc, number = KDPC(), PROCESSOR_NUMBER()
        KeInitializeDpc(dpc, lambda *_: None, NULL)
        number.Number = 4
        return KeSetTargetProcessorDpcEx(dpc, number)

    assert value_of(body, processors=4) == STATUS_INVALID_PARAMETER


def test_inserting_a_dpc_for_a_processor_that_does_not_exist_is_a_fault_of_the_driver(
    bugcheck_of,
) -> None:
    """There is no KPRCB for it: the kernel dereferences NULL at a raised IRQL (inferred)."""

    def body() -> None:
        dpc = KDPC()
        KeInitializeDpc(dpc, lambda *_: None, NULL)
        KeSetTargetProcessorDpc(dpc, 9)
        KeInsertQueueDpc(dpc, NULL, NULL)

    assert bugcheck_of(body, processors=2).code == 0xA


def test_flushing_waits_for_the_dpcs_of_every_processor(value_of) -> None:
    def body() -> int:
        seen = []
        dpcs = [KDPC() for _ in range(8)]
        for number, dpc in enumerate(dpcs):
            KeInitializeDpc(dpc, lambda *_: seen.append(1), NULL)
            KeSetTargetProcessorDpc(dpc, number)
            KeInsertQueueDpc(dpc, NULL, NULL)
        KeFlushQueuedDpcs()
        return len(seen)

    assert value_of(body, processors=8) == 8


@pytest.mark.parametrize("processors", [1, 2, 8, 64])
@pytest.mark.parametrize("seed", [0, 5])
def test_a_generic_dpc_call_runs_once_on_each_processor_and_selects_one(
    value_of, processors: int, seed: int
) -> None:
    def body() -> tuple:
        ran, selected = [], []

        def routine(Dpc, Context, One, Two) -> None:
            ran.append((KeGetCurrentProcessorNumber(), KeGetCurrentIrql(), Context))
            if KeSignalCallDpcSynchronize(Two):
                selected.append(1)
            KeSignalCallDpcDone(One)

        KeGenericCallDpc(routine, 5)
        return sorted(ran), len(selected), KeGetCurrentIrql()

    expected = [(n, 2, 5) for n in range(processors)]
    assert value_of(body, processors=processors, seed=seed) == (expected, 1, 0)


def test_a_thousand_dpcs_all_run(value_of) -> None:
    def body() -> int:
        seen = []
        memory = ExAllocatePoolWithTag(NonPagedPoolNx, 1000 * KDPC.size, 0x63704420)
        dpcs = cast(memory, PKDPC)
        for i in range(1000):
            KeInitializeDpc(dpcs[i], lambda d, c, a, b: seen.append(c), i)
            KeSetTargetProcessorDpc(dpcs[i], i % 4)
        for i in range(1000):
            KeInsertQueueDpc(dpcs[i], NULL, NULL)
        KeFlushQueuedDpcs()
        return len(set(seen))

    assert value_of(body, processors=4, record=False) == 1000


# What goes wrong


def test_a_wait_in_a_dpc_bugchecks_0xb8_with_the_thread_it_interrupted(bugcheck_of) -> None:
    seen = []

    def body() -> None:
        event, dpc = KEVENT(), KDPC()
        KeInitializeEvent(event, NotificationEvent, FALSE)

        def routine(*_) -> None:
            KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL)

        seen.append(int(KeGetCurrentThread()))
        seen.append(KeGetCurrentThread().InitialStack)
        KeInitializeDpc(dpc, routine, NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    stop = bugcheck_of(body, processors=1)
    assert (stop.code, stop.irql) == (0xB8, 2)
    assert stop.parameters[0] == seen[0]
    assert stop.parameters[1] not in (0, seen[0])
    assert stop.parameters[2:] == (seen[1], 0)


def test_a_delay_in_a_dpc_bugchecks_0xb8(bugcheck_of) -> None:
    def body() -> None:
        dpc, interval = KDPC(), LARGE_INTEGER()
        interval.QuadPart = -10
        KeInitializeDpc(dpc, lambda *_: KeDelayExecutionThread(KernelMode, FALSE, interval), NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    assert bugcheck_of(body, processors=1).code == 0xB8


def test_polling_with_a_zero_timeout_is_allowed_in_a_dpc(value_of) -> None:
    def body() -> list[int]:
        event, dpc, zero, seen = KEVENT(), KDPC(), LARGE_INTEGER(), []
        KeInitializeEvent(event, SynchronizationEvent, TRUE)

        def routine(*_) -> None:
            for _ in range(2):
                seen.append(KeWaitForSingleObject(event, Executive, KernelMode, FALSE, zero))

        KeInitializeDpc(dpc, routine, NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)
        return seen

    assert value_of(body, processors=1) == [STATUS_SUCCESS, STATUS_TIMEOUT]


@pytest.mark.parametrize("level", [PASSIVE_LEVEL, APC_LEVEL, CLOCK_LEVEL])
def test_a_dpc_that_returns_at_another_irql_bugchecks_0xc8(bugcheck_of, level: int) -> None:
    """Parameter 1: current IRQL << 16 | expected IRQL << 8 | a value that tells the place."""

    def body() -> None:
        dpc = KDPC()
        KeInitializeDpc(dpc, lambda *_: KfRaiseIrql(level) * 0, NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    stop = bugcheck_of(body, processors=1)
    assert stop.code == 0xC8
    assert stop.parameters[0] >> 8 == level << 8 | DISPATCH_LEVEL


def test_interrupts_that_a_dpc_routine_leaves_off_are_on_after_it(value_of) -> None:
    """KiRetireDpcList turns them off and on around each routine itself."""

    def work():
        from ntsim.intrin import __readeflags, _disable

        Dpc = cast(ExAllocatePoolWithTag(NonPagedPool, sizeof(KDPC), 1), PKDPC)
        ran = []

        def routine(Dpc, Context, Argument1, Argument2):
            ran.append(bool(__readeflags() & 0x200))
            _disable()

        KeInitializeDpc(Dpc, routine, NULL)
        for _ in range(2):
            KeInsertQueueDpc(Dpc, NULL, NULL)
        KeInsertQueueDpc(Dpc, NULL, NULL)
        return ran, bool(__readeflags() & 0x200)

    assert value_of(work) == ([True, True, True], True)
