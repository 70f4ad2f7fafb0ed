"""IRQL: what raising and lowering do on a free build, which checks nothing."""

import pytest

from ntsim.intrin import *
from ntsim.wdm import *


def test_raising_to_dispatch_level_twice_returns_the_level_before_each_time(value_of) -> None:
    def body() -> list[int]:
        return [KeRaiseIrqlToDpcLevel(), KeRaiseIrqlToDpcLevel(), KeGetCurrentIrql()]

    assert value_of(body) == [0, 2, 2]


def test_raising_to_a_lower_level_silently_lowers(value_of) -> None:
    def body() -> list[int]:
        OldIrql = KeRaiseIrql(HIGH_LEVEL)
        return [OldIrql, KeRaiseIrql(DISPATCH_LEVEL), KeGetCurrentIrql()]

    assert value_of(body) == [0, 15, 2]


def test_lowering_to_a_higher_level_silently_raises(value_of) -> None:
    def body() -> int:
        KeLowerIrql(DISPATCH_LEVEL)
        return KeGetCurrentIrql()

    assert value_of(body) == 2


def test_the_irql_is_the_processors_cr8(value_of) -> None:
    def body() -> list[int]:
        KeRaiseIrqlToDpcLevel()
        first = __readcr8()
        __writecr8(12)
        return [first, KeGetCurrentIrql()]

    assert value_of(body) == [2, 12]


@pytest.mark.parametrize("level", range(16))
def test_every_level_can_be_raised_to_and_comes_back(value_of, level: int) -> None:
    def body() -> list[int]:
        old = KfRaiseIrql(level)
        here = KeGetCurrentIrql()
        KeLowerIrql(old)
        return [old, here, KeGetCurrentIrql()]

    assert value_of(body) == [0, level, 0]


@pytest.mark.parametrize("level", [16, 0xFF])
def test_a_level_above_15_is_a_general_protection_fault(bugcheck_of, level: int) -> None:
    """MOV to CR8 with bits above 3 set: #GP(0)."""
    stop = bugcheck_of(lambda: KfRaiseIrql(level))
    assert (stop.code, stop.parameters[0]) == (0x7E, STATUS_PRIVILEGED_INSTRUCTION)


def test_the_old_level_is_stored_through_a_pointer_if_one_is_given(value_of) -> None:
    def body() -> list:
        old = KIRQL()
        result = KeRaiseIrql(DISPATCH_LEVEL, old)
        return [result, old[0]]

    assert value_of(body) == [None, 0]


def test_raising_and_lowering_are_recorded_with_the_line_that_did_it(run_driver) -> None:
    def body() -> None:
        KeLowerIrql(KeRaiseIrqlToDpcLevel())

    lines = [str(event) for event in run_driver(body).machine.events]
    raised = next(line for line in lines if "KeRaiseIrqlToDpcLevel" in line)
    assert "PASSIVE_LEVEL (0) -> DISPATCH_LEVEL (2)" in raised
    assert "test_irql.py:" in raised
    assert any("KeLowerIrql: IRQL DISPATCH_LEVEL (2) -> PASSIVE_LEVEL (0)" in x for x in lines)


def test_a_pending_dpc_runs_when_the_level_goes_below_dispatch(value_of) -> None:
    def body() -> list:
        ran = []
        dpc = KDPC()
        KeInitializeDpc(dpc, lambda *_: ran.append(KeGetCurrentIrql()), NULL)
        KeRaiseIrql(HIGH_LEVEL)
        KeInsertQueueDpc(dpc, NULL, NULL)
        seen = [list(ran)]
        KeLowerIrql(DISPATCH_LEVEL)
        seen.append(list(ran))
        KeLowerIrql(APC_LEVEL)
        seen.append(list(ran))
        return seen

    assert value_of(body, processors=1) == [[], [], [2]]


def test_a_pending_dpc_runs_when_interrupts_come_back_on(value_of) -> None:
    def body() -> list:
        ran = []
        dpc = KDPC()
        KeInitializeDpc(dpc, lambda *_: ran.append(1), NULL)
        _disable()
        KeInsertQueueDpc(dpc, NULL, NULL)
        before = list(ran)
        _enable()
        return [before, ran]

    assert value_of(body, processors=1) == [[], [1]]
