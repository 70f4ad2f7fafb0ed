"""WMI registration. Source: WDK IoWMIRegistrationControl, IRP_MN_REGINFO_EX, IoWMIWriteEvent."""

import pytest

from ntsim.nt.events import WmiEventWritten, WmiRegistered
from ntsim.wdm import *

REGISTER, DEREGISTER, REREGISTER = 1, 2, 3


def provider(known: int, asked: list):
    """A driver whose device answers the minor code `known` with one block."""

    def system_control(DeviceObject, Irp) -> int:
        stack = IoGetCurrentIrpStackLocation(Irp)
        wmi = stack.Parameters.WMI
        asked.append((stack.MinorFunction, wmi.ProviderId == DeviceObject, KeGetCurrentIrql()))
        if stack.MinorFunction == known:
            write_bytes(wmi.Buffer + 0x10, b"\1\0\0\0")
            Irp.IoStatus.Status = STATUS_SUCCESS
        status = Irp.IoStatus.Status
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return status

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.MajorFunction[IRP_MJ_SYSTEM_CONTROL] = system_control
        _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        calls = (DEREGISTER, REGISTER, REGISTER, REREGISTER + 9)
        asked.append([IoWMIRegistrationControl(device, action) for action in calls])
        return STATUS_SUCCESS

    return DriverEntry


@pytest.mark.parametrize(
    ("known", "minors"),
    [(IRP_MN_REGINFO_EX, [IRP_MN_REGINFO_EX]), (IRP_MN_REGINFO, [0xB, IRP_MN_REGINFO])],
)
def test_registering_asks_for_the_blocks_from_a_system_thread(
    ntsim_machine, known: int, minors: list[int]
) -> None:
    machine, asked = ntsim_machine(), []
    machine.load_driver(provider(known, asked), name="wmi.sys")
    machine.run_until_idle()
    bad = STATUS_INVALID_PARAMETER
    assert asked == [[bad, STATUS_SUCCESS, bad, bad], *((minor, True, 0) for minor in minors)]
    assert [e.count for e in machine.events if isinstance(e, WmiRegistered)] == [1]


def test_an_events_memory_is_freed_by_the_system(run_driver) -> None:
    def body() -> int:
        node = ExAllocatePoolWithTag(NonPagedPool, 0x40, 0x74736554)
        write_bytes(node, b"\x40" + bytes(0x3F))
        return IoWMIWriteEvent(node)

    done = run_driver(body)
    assert done.value == STATUS_SUCCESS
    assert [e.size for e in done.machine.events if isinstance(e, WmiEventWritten)] == [0x40]


def test_an_event_that_is_not_in_pool_is_the_drivers_mistake(bugcheck_of) -> None:
    def body() -> None:
        block = ExAllocatePoolWithTag(NonPagedPool, 0x80, 0x74736554)
        write_bytes(block + 0x40, b"\x40" + bytes(0x3F))
        IoWMIWriteEvent(block + 0x40)

    assert bugcheck_of(body).code in (0xC2, 0x19)
