"""intelpt/WindowsIntelPT issue 5: an error path frees what its caller frees as well.

The app wants a trace buffer whose size is not a multiple of a page. AllocatePtBuffer has allocated
the descriptor by then; it frees it and fails, but the caller has its address already and cleans up,
too: bug check 0xC2, parameter 1 = 7.
"""

from driver.crashes.device import *
from ntsim.wdm import *


class PT_BUFFER_DESCRIPTOR(Structure):
    Buffer: PVOID
    Size: ULONG


PPT_BUFFER_DESCRIPTOR = POINTER(PT_BUFFER_DESCRIPTOR)
TAG = 0x54506957  # 'WiPT'


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Status = STATUS_SUCCESS
    if CodeOf(Irp) == CRASH_WORK:
        Status = TraceOnce(cast(Irp.AssociatedIrp.SystemBuffer, PULONG)[0])
    return Complete(Irp, Status)


def TraceOnce(Size: ULONG) -> NTSTATUS:
    Descriptor = cast(
        ExAllocatePoolZero(NonPagedPoolNx, sizeof(PT_BUFFER_DESCRIPTOR), TAG), PPT_BUFFER_DESCRIPTOR
    )
    if not Descriptor:
        return STATUS_INSUFFICIENT_RESOURCES
    Status = AllocatePtBuffer(Descriptor, Size)
    if NT_SUCCESS(Status):
        RtlZeroMemory(Descriptor.Buffer, Size)
        ExFreePoolWithTag(Descriptor.Buffer, TAG)
    ExFreePoolWithTag(Descriptor, TAG)
    return Status


def AllocatePtBuffer(Descriptor, Size: ULONG) -> NTSTATUS:
    if Size % PAGE_SIZE:
        ExFreePoolWithTag(Descriptor, TAG)
        return STATUS_INVALID_BUFFER_SIZE
    Descriptor.Buffer = ExAllocatePoolWithTag(NonPagedPoolNx, Size, TAG)
    Descriptor.Size = Size
    return STATUS_SUCCESS if Descriptor.Buffer else STATUS_INSUFFICIENT_RESOURCES
