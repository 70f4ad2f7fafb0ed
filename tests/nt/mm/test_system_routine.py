"""MmGetSystemRoutineAddress. Source: WDK MmGetSystemRoutineAddress."""

import pytest

import ntsim
from ntsim.host.current import current_kernel
from ntsim.wdm import *


def address(name: str) -> int:
    return MmGetSystemRoutineAddress(UNICODE_STRING(name))


def test_a_routine_has_one_address_in_the_kernels_image(run_driver) -> None:
    def body() -> list[int]:
        return [address("ExAllocatePoolWithTag"), address("ExAllocatePoolWithTag")]

    outcome = run_driver(body)
    first, second = outcome.value
    assert first == second
    nt = outcome.machine.nt
    assert nt.images.at(first) is nt.nt_image
    assert nt.describe_address(first) == "nt!ExAllocatePoolWithTag"


@pytest.mark.parametrize("name", ["NoSuchRoutine", "keSetEvent", "KeAcquireSpinLock", ""])
def test_what_the_kernel_does_not_export_has_none(value_of, name: str) -> None:
    assert value_of(lambda: address(name)) == 0


def test_the_address_can_be_called(run_driver) -> None:
    def body() -> list:
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        call, routine = current_kernel("the test").call, address("KeSetEvent")
        return [call(routine, int(event), 0, 0), call(routine, int(event), 0, 0)]

    assert run_driver(body).value == [0, 1]


def test_calling_one_that_is_not_modelled_stops_with_its_name(run_driver) -> None:
    def body() -> None:
        dpc = KDPC()
        KeInitializeDpc(dpc, address("FsRtlCopyWrite"), 0)
        KeInsertQueueDpc(dpc, 0, 0)

    with pytest.raises(ntsim.UnmodelledRoutine) as caught:
        run_driver(body)
    assert caught.value.routine == "FsRtlCopyWrite"
