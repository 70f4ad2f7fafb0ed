"""A driver's devices, listed; who sent an IRP; thread and process."""

from ntsim.wdm import *


def test_devices_are_listed_with_references_as_far_as_they_fit(ntsim_machine) -> None:
    found = []

    def DriverEntry(DriverObject, RegistryPath):
        made = [IoCreateDevice(DriverObject, 0, NULL, 0x22, 0, FALSE)[1] for _ in range(3)]
        room = ExAllocatePoolWithTag(NonPagedPool, 64, 1)
        status, count = IoEnumerateDeviceObjectList(DriverObject, NULL, 0)
        found.append((hex(status & 0xFFFFFFFF), count))  # what fails gives a Python driver no value
        status, count = IoEnumerateDeviceObjectList(DriverObject, room, 24)
        listed = [int.from_bytes(read_bytes(room + 8 * i, 8), "little") for i in range(3)]
        found.append((status, count, listed == [int(d) for d in reversed(made)]))
        found.append([ObDereferenceObject(d) for d in listed])
        for device in made:
            IoDeleteDevice(device)
        return STATUS_SUCCESS

    ntsim_machine().load_driver(DriverEntry, name="list.sys")
    assert found[:2] == [("0xc0000023", 0), (0, 3, True)]
    assert len(set(found[2])) == 1


def test_the_system_process_and_thread(value_of) -> None:
    def body() -> list:
        thread, process = PsGetCurrentThread(), PsGetCurrentProcess()
        found = [int(IoThreadToProcess(thread)) == int(process), IoIsSystemThread(thread)]
        found += [PsGetProcessPeb(process), PsGetProcessWow64Process(process)]
        found += [PsGetProcessJob(process), KeQueryMaximumGroupCount()]
        status, token = ZwOpenProcessToken(ZwCurrentProcess(), TOKEN_QUERY)
        return [*found, status, ZwClose(token), ExSetTimerResolution(10_000, TRUE)]

    assert value_of(body) == [True, True, 0, 0, 0, 1, 0, 0, 156_250]


def test_the_requestors_process_id(run_app) -> None:
    seen = []

    def control(DeviceObject, Irp):
        seen.append(IoGetRequestorProcessId(Irp) == PsGetCurrentProcessId())
        Irp.IoStatus.Status = STATUS_SUCCESS
        Irp.IoStatus.Information = 0
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    run_app(device_control=control)
    assert seen == [True]
