"""Names and handles of objects. Source: Wine ntoskrnl tests test_object_name (fact F087); WDK."""

from ntsim.wdm import *


def query(body, length: int = 256) -> list:
    buffer = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 256, 1), POBJECT_NAME_INFORMATION)
    size = ULONG()
    status = ObQueryNameString(body, buffer, length, size)
    name = buffer.Name
    text = read_bytes(name.Buffer, name.Length).decode("utf-16-le") if not status else ""
    return [status, size[0], text]


def test_a_named_object_needs_the_structure_the_name_and_a_terminator(value_of) -> None:
    def body(DriverObject) -> list:
        name = UNICODE_STRING("\\Device\\Named")
        _, device = IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
        full = query(device)
        return [full, query(device, full[1] - 1), query(device, 0)]

    needed = 16 + 2 * len("\\Device\\Named") + 2
    mismatch = [STATUS_INFO_LENGTH_MISMATCH, needed, ""]
    assert value_of(body) == [[0, needed, "\\Device\\Named"], mismatch, mismatch]


def test_an_unnamed_object_has_an_empty_name(value_of) -> None:
    def body(DriverObject) -> list:
        _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        return [query(device), query(DriverObject)[2]]

    assert value_of(body) == [[0, 16, ""], "\\Driver\\drv"]


def test_a_pointer_becomes_a_handle_to_the_same_object(value_of) -> None:
    def body() -> list:
        process = PsGetCurrentProcess()
        status, handle = ObOpenObjectByPointer(
            process, OBJ_KERNEL_HANDLE, NULL, 0x1FFFFF, NULL, KernelMode
        )
        _, same = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        ObDereferenceObject(same)
        wrong = ObOpenObjectByPointer(
            process, 0, NULL, 0, ObGetObjectType(KeGetCurrentThread()), KernelMode
        )
        return [status, int(same) == int(process), *wrong, ZwClose(handle)]

    assert value_of(body) == [0, True, STATUS_OBJECT_TYPE_MISMATCH, 0, 0]


def test_a_name_becomes_a_referenced_pointer(value_of) -> None:
    def body(DriverObject) -> list:
        kind = ObGetObjectType(DriverObject)
        name = UNICODE_STRING("\\Driver\\drv")
        status, found = ObReferenceObjectByName(name, 0, NULL, 0, kind, KernelMode, NULL)
        ObDereferenceObject(found)
        wrong = ObGetObjectType(PsGetCurrentProcess())
        other, _ = ObReferenceObjectByName(name, 0, NULL, 0, wrong, KernelMode, NULL)
        absent, _ = ObReferenceObjectByName(
            UNICODE_STRING("\\Driver\\none"), 0, NULL, 0, kind, KernelMode, NULL
        )
        return [status, int(found) == int(DriverObject), other, absent]

    found = value_of(body)
    assert found == [0, True, STATUS_OBJECT_TYPE_MISMATCH, STATUS_OBJECT_NAME_NOT_FOUND]
