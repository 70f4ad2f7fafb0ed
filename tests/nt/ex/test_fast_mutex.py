"""Fast and guarded mutexes: one owner at a time, and what ownership holds off.

Source: WDK "Fast Mutexes and Guarded Mutexes"; ReactOS kmtests ExFastMutex.c, KeGuardedMutex.c.
"""

import pytest

import ntsim
from ntsim.wdm import *


def start(routine, context=0) -> None:
    _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, routine, context)
    ZwClose(handle)


def pause(milliseconds: int = 1) -> None:
    interval = LARGE_INTEGER()
    interval.QuadPart = -milliseconds * 10_000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


def new_mutex():
    mutex = FAST_MUTEX()
    ExInitializeFastMutex(mutex)
    return mutex


def test_an_initialized_fast_mutex_is_free_and_has_no_owner(value_of) -> None:
    def body() -> list[int]:
        mutex = new_mutex()
        event = mutex.Event.Header
        return [mutex.Count, mutex.Owner, mutex.Contention, event.Type, event.SignalState]

    assert value_of(body) == [1, 0, 0, SynchronizationEvent, 0]


def test_acquiring_raises_to_apc_level_and_releasing_restores(value_of) -> None:
    def body() -> list:
        mutex = new_mutex()
        ExAcquireFastMutex(mutex)
        held = [KeGetCurrentIrql(), mutex.Count, mutex.Owner == KeGetCurrentThread()]
        held += [mutex.OldIrql, KeAreAllApcsDisabled(), KeAreApcsDisabled()]
        ExReleaseFastMutex(mutex)
        return [*held, KeGetCurrentIrql(), mutex.Count, mutex.Owner]

    assert value_of(body) == [APC_LEVEL, 0, True, 0, True, False, 0, 1, 0]


def test_a_mutex_taken_at_apc_level_leaves_its_owner_there(value_of) -> None:
    def body() -> list[int]:
        mutex = new_mutex()
        KeRaiseIrql(APC_LEVEL)
        ExAcquireFastMutex(mutex)
        kept = mutex.OldIrql
        ExReleaseFastMutex(mutex)
        return [kept, KeGetCurrentIrql()]

    assert value_of(body) == [APC_LEVEL, APC_LEVEL]


def test_trying_an_owned_mutex_fails_at_the_old_irql(value_of) -> None:
    def body() -> list:
        mutex = new_mutex()
        first = [ExTryToAcquireFastMutex(mutex), KeGetCurrentIrql()]
        KeLowerIrql(PASSIVE_LEVEL)
        again = [ExTryToAcquireFastMutex(mutex), KeGetCurrentIrql()]
        KeRaiseIrql(APC_LEVEL)
        ExReleaseFastMutex(mutex)
        return first + again

    assert value_of(body) == [True, APC_LEVEL, False, PASSIVE_LEVEL]


def test_the_unsafe_routines_leave_the_irql_alone(value_of) -> None:
    def body() -> list:
        mutex = new_mutex()
        KeEnterCriticalRegion()
        ExAcquireFastMutexUnsafe(mutex)
        held = [KeGetCurrentIrql(), mutex.Count, mutex.Owner == KeGetCurrentThread()]
        ExReleaseFastMutexUnsafe(mutex)
        KeLeaveCriticalRegion()
        return [*held, mutex.Count]

    assert value_of(body) == [PASSIVE_LEVEL, 0, True, 1]


def test_acquiring_at_dispatch_level_lowers_silently(value_of) -> None:
    def body() -> list[int]:
        mutex = new_mutex()
        KeRaiseIrql(DISPATCH_LEVEL)
        ExAcquireFastMutex(mutex)
        held = KeGetCurrentIrql()
        ExReleaseFastMutex(mutex)
        return [held, KeGetCurrentIrql()]

    assert value_of(body) == [APC_LEVEL, DISPATCH_LEVEL]


@pytest.mark.parametrize("seed", range(4))
def test_a_fast_mutex_is_held_by_one_thread_at_a_time(value_of, seed: int) -> None:
    def body() -> list:
        mutex, done, inside, worst = new_mutex(), KSEMAPHORE(), [], []
        KeInitializeSemaphore(done, 0, 10)

        def worker(number) -> None:
            for _ in range(4):
                ExAcquireFastMutex(mutex)
                inside.append(number)
                worst.append(len(inside))
                pause()
                inside.remove(number)
                ExReleaseFastMutex(mutex)
            KeReleaseSemaphore(done, 0, 1, FALSE)

        for number in range(3):
            start(worker, number)
        for _ in range(3):
            KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
        return [max(worst), len(worst), mutex.Count, mutex.Owner, mutex.Contention > 0]

    assert value_of(body, processors=3, seed=seed) == [1, 12, 1, 0, True]


def test_acquiring_a_fast_mutex_twice_is_a_hang_that_names_the_wait(run_driver) -> None:
    def body() -> None:
        mutex = new_mutex()
        ExAcquireFastMutex(mutex)
        ExAcquireFastMutex(mutex)

    with pytest.raises(ntsim.Hang) as caught:
        run_driver(body)
    assert "synchronization event" in str(caught.value)


def test_leaving_a_system_call_with_a_fast_mutex_held_is_0x4a(ntsim_machine) -> None:
    def DriverEntry(DriverObject, RegistryPath) -> int:
        IoCreateDevice(
            DriverObject, 0, UNICODE_STRING("\\Device\\Fm"), FILE_DEVICE_UNKNOWN, 0, FALSE
        )
        IoCreateSymbolicLink(UNICODE_STRING("\\??\\Fm"), UNICODE_STRING("\\Device\\Fm"))
        mutex = cast(ExAllocatePoolWithTag(NonPagedPoolNx, FAST_MUTEX.size, 1), PFAST_MUTEX)
        ExInitializeFastMutex(mutex)

        def create(Device, Irp) -> int:
            ExAcquireFastMutex(mutex)
            Irp.IoStatus.Status = STATUS_SUCCESS
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return STATUS_SUCCESS

        DriverObject.MajorFunction[IRP_MJ_CREATE] = create
        return STATUS_SUCCESS

    def app() -> None:
        from ntsim.win32 import CreateFile

        CreateFile("\\\\.\\Fm", 0, 0, None, 3, 0, None)

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(ntsim.BugCheck) as caught:
        machine.run(app)
    assert (caught.value.code, caught.value.parameters[1]) == (0x4A, APC_LEVEL)


# Guarded mutexes


def new_guarded():
    mutex = KGUARDED_MUTEX()
    KeInitializeGuardedMutex(mutex)
    return mutex


def test_a_guarded_mutex_disables_all_kernel_apcs_at_passive_level(value_of) -> None:
    def body() -> list:
        mutex = new_guarded()
        KeAcquireGuardedMutex(mutex)
        thread = KeGetCurrentThread()
        held = [KeGetCurrentIrql(), mutex.Count, mutex.Owner == thread, thread.SpecialApcDisable]
        held.append(KeAreAllApcsDisabled())
        KeReleaseGuardedMutex(mutex)
        return [*held, mutex.Count, thread.SpecialApcDisable]

    assert value_of(body) == [0, 0, True, -1, True, 1, 0]


def test_trying_an_owned_guarded_mutex_leaves_no_region(value_of) -> None:
    def body() -> list:
        mutex = new_guarded()
        found = [KeTryToAcquireGuardedMutex(mutex), KeTryToAcquireGuardedMutex(mutex)]
        found.append(KeGetCurrentThread().SpecialApcDisable)
        KeReleaseGuardedMutex(mutex)
        return [*found, KeGetCurrentThread().SpecialApcDisable]

    assert value_of(body) == [True, False, -1, 0]


def test_the_unsafe_guarded_routines_enter_no_region(value_of) -> None:
    def body() -> list:
        mutex = new_guarded()
        KeEnterGuardedRegion()
        KeAcquireGuardedMutexUnsafe(mutex)
        held = [mutex.Count, KeGetCurrentThread().SpecialApcDisable]
        KeReleaseGuardedMutexUnsafe(mutex)
        KeLeaveGuardedRegion()
        return [*held, mutex.Count]

    assert value_of(body) == [0, -1, 1]
