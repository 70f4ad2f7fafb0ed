"""The way back to user mode: what Windows insists on at system-call exit."""

import pytest

from ntsim import win32
from ntsim.abi.ke import KTRAP_FRAME
from ntsim.intrin import *
from ntsim.wdm import *

STUB = "ntdll!NtDeviceIoControlFile"


def completing(work):
    """A dispatch routine that does `work()` and completes the request."""

    def routine(DeviceObject, Irp) -> int:
        work()
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    return routine


def trap_frame_of(machine) -> int:
    return machine.nt.thread.v.TrapFrame


def test_returning_to_user_mode_at_dispatch_level_bugchecks_0x4a(crash_of) -> None:
    """Parameters as in the dump: the user-mode return address, the IRQL, 0, trap frame + 0x80."""
    stop, machine = crash_of(device_control=completing(KeRaiseIrqlToDpcLevel))
    assert stop.code == 0x4A
    rip, irql, three, four = stop.parameters
    assert machine.nt.describe_address(rip) == f"{STUB}+0x14"
    assert (irql, three, stop.irql) == (2, 0, 2)
    assert four == trap_frame_of(machine) + 0x80


@pytest.mark.parametrize("level", [APC_LEVEL, 5, HIGH_LEVEL])
def test_any_level_above_passive_bugchecks_0x4a(crash_of, level: int) -> None:
    stop, _ = crash_of(device_control=completing(lambda: KfRaiseIrql(level)))
    assert (stop.code, stop.parameters[1]) == (0x4A, level)


def test_a_spin_lock_that_is_not_released_bugchecks_0x4a(crash_of) -> None:
    stop, _ = crash_of(device_control=completing(lambda: KeAcquireSpinLock(KSPIN_LOCK())))
    assert (stop.code, stop.parameters[1]) == (0x4A, 2)


def test_lowering_below_the_level_found_is_no_0x4a(run_app) -> None:
    run_app(device_control=completing(lambda: KeLowerIrql(KeRaiseIrqlToDpcLevel())))


@pytest.mark.parametrize(
    ("enter", "disable"),
    [
        (KeEnterCriticalRegion, 0x0000FFFF),
        (KeEnterGuardedRegion, 0xFFFF0000),
        (lambda: [KeEnterCriticalRegion() for _ in range(3)], 0x0000FFFD),
        (lambda: (KeEnterCriticalRegion(), KeEnterGuardedRegion()), 0xFFFFFFFF),
        (KeLeaveCriticalRegion, 0x00000001),
    ],
    ids=["critical", "guarded", "three critical", "both", "left too often"],
)
def test_an_unbalanced_region_bugchecks_0x1(crash_of, enter, disable: int) -> None:
    """Parameters: return address, ApcStateIndex, SpecialApcDisable << 16 | KernelApcDisable."""
    stop, machine = crash_of(device_control=completing(enter))
    assert stop.code == 0x1
    assert machine.nt.describe_address(stop.parameters[0]).startswith(STUB)
    assert stop.parameters[1:3] == (0, disable)
    assert stop.parameters[3] == trap_frame_of(machine) + 0x80


def test_the_irql_is_looked_at_before_the_apc_counts(crash_of) -> None:
    stop, _ = crash_of(
        device_control=completing(lambda: (KeEnterCriticalRegion(), KeRaiseIrqlToDpcLevel()))
    )
    assert stop.code == 0x4A


def test_a_kernel_mutex_that_is_not_released_bugchecks_0x1(crash_of) -> None:
    def take() -> None:
        mutex = cast(ExAllocatePoolWithTag(NonPagedPoolNx, KMUTANT.size, 1), PKMUTEX)
        KeInitializeMutex(mutex, 0)
        KeWaitForSingleObject(mutex, Executive, KernelMode, FALSE, NULL)

    stop, _ = crash_of(device_control=completing(take))
    assert (stop.code, stop.parameters[2]) == (0x1, 0xFFFF)


def test_an_unhandled_exception_in_a_system_call_bugchecks_0x3b(crash_of) -> None:
    """Parameters: exception code, its address, the context record, 0."""

    def routine(DeviceObject, Irp) -> int:
        return cast(0x18, PULONG)[0]

    stop, machine = crash_of(device_control=routine)
    code, address, context, four = stop.parameters
    assert (stop.code, code, four) == (0x3B, STATUS_ACCESS_VIOLATION, 0)
    assert machine.nt.describe_address(address).startswith("thing!routine+")
    assert machine.nt.thread.stack_limit <= context < machine.nt.thread.stack_base


def test_an_exception_at_raised_irql_in_a_system_call_is_still_0x3b(crash_of) -> None:
    def work() -> None:
        KeRaiseIrqlToDpcLevel()
        ExRaiseStatus(STATUS_UNSUCCESSFUL)

    stop, _ = crash_of(device_control=completing(work))
    assert (stop.code, stop.parameters[0], stop.irql) == (0x3B, STATUS_UNSUCCESSFUL, 2)


def test_a_raised_status_that_the_driver_catches_is_no_bug_check(run_app) -> None:
    seen = []

    def work() -> None:
        try:
            ExRaiseStatus(STATUS_UNSUCCESSFUL)
        except StructuredException as e:
            seen.append(e.ExceptionCode)

    run_app(device_control=completing(work))
    assert seen == [STATUS_UNSUCCESSFUL]


def test_the_trap_frame_holds_the_users_registers(run_app) -> None:
    seen = []

    def work() -> None:
        frame = cast(KeGetCurrentThread().TrapFrame, KTRAP_FRAME)
        seen.append((frame.SegCs, frame.SegSs, frame.EFlags & 0x200, frame.Rip >> 47))
        seen.append(int(KeGetCurrentThread().InitialStack) - int(frame))

    run_app(device_control=completing(work))
    assert seen == [(0x33, 0x2B, 0x200, 0), 0x190]


def test_a_dispatch_routine_runs_in_the_apps_thread_with_previous_mode_user(run_app) -> None:
    seen = []

    def work() -> None:
        seen.append((ExGetPreviousMode(), KeGetCurrentIrql(), PsGetCurrentProcessId() > 4))

    run_app(device_control=completing(work))
    assert seen == [(UserMode, PASSIVE_LEVEL, True)]


def test_interrupts_left_off_come_back_on_with_sysret_and_are_recorded(run_app) -> None:
    """SYSRET loads the caller's RFLAGS; how long interrupts were off is an event."""
    ran = run_app(device_control=completing(_disable))
    assert any("interrupts were off for" in str(event) for event in ran.machine.events)
    assert ran.machine.nt.il.current.interrupts_enabled


def test_kernel_variables_of_a_system_call_lie_below_its_trap_frame(run_app) -> None:
    seen = []

    def work() -> None:
        variable = (UCHAR * 64)()
        frame = KeGetCurrentThread().TrapFrame
        seen.append(KeGetCurrentThread().StackLimit < variable < frame)

    run_app(device_control=completing(work))
    assert seen == [True]


def test_a_user_address_is_caught_as_the_access_violation_it_is(run_app) -> None:
    seen = []

    def routine(DeviceObject, Irp) -> int:
        address = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.Type3InputBuffer
        try:
            read_bytes(address, 4)
        except StructuredException as e:
            seen.append((e.ExceptionCode, e.ExceptionInformation[1] == address))
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    neither = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_NEITHER, FILE_ANY_ACCESS)

    def app() -> None:
        handle = win32.CreateFile("\\\\.\\Thing", win32.GENERIC_READ, 0, None, 3, 0, None)
        win32.DeviceIoControl(handle, neither, (0x1234_0000, 16), 0)

    run_app(app, device_control=routine)
    assert seen == [(STATUS_ACCESS_VIOLATION, True)]
