"""ZwDuplicateObject, ZwTerminateProcess: handles across processes. Source: WDK."""

from ntsim.wdm import *

CURRENT = 0xFFFF_FFFF_FFFF_FFFF


def test_a_duplicate_names_the_same_object(value_of) -> None:
    def work() -> list[int]:
        _, event = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)
        twin = HANDLE()
        found = [ZwDuplicateObject(CURRENT, event, CURRENT, twin, 0, 0, DUPLICATE_SAME_ACCESS)]
        ZwClose(event)
        ZwSetEvent(twin[0], NULL)
        return [*found, ZwWaitForSingleObject(twin[0], FALSE, NULL), ZwClose(twin[0])]

    assert value_of(work) == [0, 0, 0]


def test_a_closed_handle_is_invalid(value_of) -> None:
    def work() -> list[int]:
        _, event = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)
        return [ZwClose(event), ZwWaitForSingleObject(event, FALSE, NULL)]

    assert value_of(work) == [0, STATUS_INVALID_HANDLE]


def test_a_driver_ends_a_process_by_id(ntsim_machine) -> None:
    machine = ntsim_machine(processors=2)
    from ntsim.win32 import INFINITE, Sleep

    victim = machine.start(lambda: Sleep(INFINITE))
    pid = victim.pid

    def DriverEntry(DriverObject, RegistryPath):
        client, attributes = CLIENT_ID(), OBJECT_ATTRIBUTES()
        attributes.Length = sizeof(OBJECT_ATTRIBUTES)
        attributes.Attributes = OBJ_KERNEL_HANDLE
        client.UniqueProcess = pid
        status, process = ZwOpenProcess(PROCESS_ALL_ACCESS, attributes, client)
        if NT_SUCCESS(status):
            ZwTerminateProcess(process, STATUS_ACCESS_DENIED)
            status = ZwWaitForSingleObject(process, FALSE, NULL)
        return status

    assert machine.load_driver(DriverEntry, name="killer.sys").status == 0
    assert victim.exit_code == 0xC0000022


def test_a_driver_makes_a_kernel_handle_of_another(value_of) -> None:
    """Source: ReactOS kmtests ObHandle.c: the target is the System process."""

    def work() -> list[int]:
        _, event = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)
        twin = HANDLE()
        made = [
            ZwDuplicateObject(CURRENT, event, CURRENT, twin, 0, flags, DUPLICATE_SAME_ACCESS)
            or twin[0] >> 31
            for flags in (OBJ_KERNEL_HANDLE, 0)
        ]
        ZwClose(twin[0])
        return made

    assert value_of(work) == [0x1_FFFF_FFFF, 0]
