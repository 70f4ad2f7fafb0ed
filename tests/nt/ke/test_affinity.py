"""Thread affinity: which processors a thread may run on."""

import pytest

from ntsim.wdm import *


def test_an_affinity_without_active_processors_bugchecks_0x3(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: KeSetSystemAffinityThread(1 << 5), processors=2)
    assert (stop.code, stop.parameters) == (0x3, (0, 0, 0, 0))


@pytest.mark.parametrize("processors", [1, 2, 8, 64])
def test_setting_the_affinity_moves_the_thread_before_the_call_returns(
    value_of, processors: int
) -> None:
    def visit() -> list[int]:
        seen = []
        for number in reversed(range(processors)):
            KeSetSystemAffinityThread(1 << number)
            seen.append(KeGetCurrentProcessorNumber())
        return seen

    assert value_of(visit, processors=processors) == list(reversed(range(processors)))


def test_the_ex_form_returns_zero_first_and_then_the_system_affinity_before(value_of) -> None:
    """WDK KeSetSystemAffinityThreadEx: zero if no system affinity was in force."""

    def set_twice() -> list[int]:
        return [KeSetSystemAffinityThreadEx(0b0010), KeSetSystemAffinityThreadEx(0b0100)]

    assert value_of(set_twice, processors=4) == [0, 0b0010]


def test_reverting_with_an_old_affinity_restores_it_and_with_zero_frees_the_thread(
    value_of,
) -> None:
    def nest() -> list[int]:
        first = KeSetSystemAffinityThreadEx(0b0010)
        second = KeSetSystemAffinityThreadEx(0b0100)
        KeRevertToUserAffinityThreadEx(second)
        inner = KeGetCurrentThread().Affinity.Mask
        KeRevertToUserAffinityThreadEx(first)
        return [inner, KeGetCurrentThread().Affinity.Mask]

    assert value_of(nest, processors=4) == [0b0010, 0b1111]


def test_reverting_gives_back_the_users_affinity(value_of) -> None:
    def revert() -> int:
        KeSetSystemAffinityThread(1)
        KeRevertToUserAffinityThread()
        return KeGetCurrentThread().Affinity.Mask

    assert value_of(revert, processors=8) == 0xFF


def test_interrupts_that_are_off_do_not_keep_the_thread_here_and_are_on_where_it_goes(
    value_of,
) -> None:
    def work():
        from ntsim.intrin import __readeflags, _disable

        KeSetSystemAffinityThread(1)
        _disable()
        KeSetSystemAffinityThread(2)
        return KeGetCurrentProcessorNumber(), bool(__readeflags() & 0x200), KeGetCurrentIrql()

    assert value_of(work) == (1, True, PASSIVE_LEVEL)


def test_at_dispatch_level_the_thread_moves_only_when_the_level_is_lowered(value_of) -> None:
    def move() -> list[int]:
        KeSetSystemAffinityThread(1)
        OldIrql = KeRaiseIrqlToDpcLevel()
        KeSetSystemAffinityThread(2)
        held = KeGetCurrentProcessorNumber()
        KeLowerIrql(OldIrql)
        return [held, KeGetCurrentProcessorNumber()]

    assert value_of(move, processors=2) == [0, 1]


@pytest.mark.parametrize("processors", [1, 3, 64])
def test_the_active_processors_are_counted_and_masked(value_of, processors: int) -> None:
    def count() -> tuple[int, ...]:
        mask = KAFFINITY()
        return (
            KeQueryActiveProcessors(),
            KeQueryActiveProcessorCount(mask),
            mask[0],
            KeQueryActiveProcessorCount(NULL),
            KeQueryActiveProcessorCountEx(0xFFFF),
            KeQueryActiveProcessorCountEx(0),
            KeQueryActiveProcessorCountEx(1),
        )

    full = (1 << processors) - 1
    expected = (full, processors, full, processors, processors, processors, 0)
    assert value_of(count, processors=processors) == expected


def test_a_processor_number_and_an_index_are_translated_into_each_other(value_of) -> None:
    def translate() -> list[int]:
        number = PROCESSOR_NUMBER()
        statuses = [KeGetProcessorNumberFromIndex(i, number) for i in (3, 4)]
        return [*statuses, number.Number, KeGetProcessorIndexFromNumber(number)]

    assert value_of(translate, processors=4) == [0, STATUS_INVALID_PARAMETER, 3, 3]


def test_the_group_form_restricts_to_group_zero(value_of) -> None:
    def restrict() -> list[int]:
        new, old = GROUP_AFFINITY(), GROUP_AFFINITY()
        new.Mask = 0b1000
        KeSetSystemGroupAffinityThread(new, old)
        here = KeGetCurrentProcessorNumber()
        KeRevertToUserGroupAffinityThread(old)
        return [here, KeGetCurrentThread().Affinity.Mask]

    assert value_of(restrict, processors=4) == [3, 0b1111]
