"""IRP_MJ_CLOSE comes at PASSIVE_LEVEL, wherever the last reference to a file goes.

Source: WDK DispatchClose, ObDereferenceObject ("IRQL <= DISPATCH_LEVEL"); ReactOS
ntoskrnl/ob/obref.c (ObfDereferenceObject asks KeAreAllApcsDisabled).
"""

from contextlib import contextmanager

import pytest

from ntsim import win32 as w
from ntsim.errors import BugCheck
from ntsim.wdm import *


@contextmanager
def at(level: int):
    old = KeRaiseIrql(level)
    yield
    KeLowerIrql(old)


@contextmanager
def in_guarded_region():
    KeEnterGuardedRegion()
    yield
    KeLeaveGuardedRegion()


@contextmanager
def in_critical_region():
    KeEnterCriticalRegion()
    yield
    KeLeaveCriticalRegion()


class Keeper:
    """A driver that keeps a reference to each file and lets it go when it is told to, in `region`;
    `closes` are the (IRQL, in a system thread) of IRP_MJ_CLOSE."""

    def __init__(self, region, files: int = 1) -> None:
        self.region, self.files = region, files
        self.kept, self.closes, self.at_once = [], [], -1

    def DriverEntry(self, DriverObject, RegistryPath):
        for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_DEVICE_CONTROL):
            DriverObject.MajorFunction[major] = self.Dispatch
        DriverObject.DriverUnload = self.Unload
        name, link = UNICODE_STRING("\\Device\\Keeper"), UNICODE_STRING("\\DosDevices\\Keeper")
        IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
        return IoCreateSymbolicLink(link, name)

    def Unload(self, DriverObject):
        IoDeleteSymbolicLink(UNICODE_STRING("\\DosDevices\\Keeper"))
        IoDeleteDevice(DriverObject.DeviceObject)

    def Dispatch(self, DeviceObject, Irp):
        stack = IoGetCurrentIrpStackLocation(Irp)
        major = stack.MajorFunction
        if major == IRP_MJ_CREATE:
            ObReferenceObject(stack.FileObject)
            self.kept.append(int(stack.FileObject))
        elif major == IRP_MJ_CLOSE:
            self.closes.append((KeGetCurrentIrql(), PsIsSystemThread(KeGetCurrentThread())))
        elif major == IRP_MJ_DEVICE_CONTROL:
            others = [kept for kept in self.kept if kept != int(stack.FileObject)]
            with self.region():
                for kept in others:
                    ObDereferenceObject(kept)
                self.at_once = len(self.closes)
        Irp.IoStatus.Status = STATUS_SUCCESS
        Irp.IoStatus.Information = 0
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    def app(self) -> None:
        def device():
            return w.CreateFile("\\\\.\\Keeper", w.GENERIC_READ, 0, None, w.OPEN_EXISTING, 0, None)

        for handle in [device() for _ in range(self.files)]:
            w.CloseHandle(handle)
        w.DeviceIoControl(device(), 0x22_2000, None, 0)


def closes_of(machine, keeper) -> list[tuple[int, int]]:
    machine.load_driver(keeper.DriverEntry, name="keeper.sys")
    process = machine.run(keeper.app)
    assert (process.exit_code, process.stderr) == (0, "")
    machine.run_until_idle()
    return keeper.closes


@pytest.mark.parametrize("region", [lambda: at(1), lambda: at(2), in_guarded_region])
def test_a_worker_closes_what_was_let_go_with_apcs_off(ntsim_machine, region) -> None:
    keeper = Keeper(region, files=3)
    assert closes_of(ntsim_machine(processors=2), keeper) == [(0, 1)] * 3
    assert keeper.at_once == 0


@pytest.mark.parametrize("region", [lambda: at(0), in_critical_region])
def test_otherwise_the_last_reference_closes_at_once(ntsim_machine, region) -> None:
    keeper = Keeper(region)
    assert closes_of(ntsim_machine(), keeper) == [(0, 0)]
    assert keeper.at_once == 1


def test_a_second_dereference_of_a_file_that_waits_is_0x18(ntsim_machine) -> None:
    keeper = Keeper(lambda: at(DISPATCH_LEVEL))
    machine = ntsim_machine()
    machine.load_driver(keeper.DriverEntry, name="keeper.sys")
    keeper_kept = keeper.kept

    @contextmanager
    def twice():
        old = KeRaiseIrql(DISPATCH_LEVEL)
        ObDereferenceObject(keeper_kept[0])
        yield
        KeLowerIrql(old)

    keeper.region = twice
    with pytest.raises(BugCheck) as caught:
        machine.run(keeper.app)
    assert (caught.value.code, caught.value.parameters[1]) == (0x18, keeper_kept[0])
