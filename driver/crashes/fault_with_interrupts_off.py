"""DarthTon/HyperBone issue 36: pageable memory is touched with interrupts off: 0xA, IRQL 0xFF.

VMXON to VMLAUNCH belong to one processor, and the driver turns interrupts off so that nothing
comes between. In there it copies into a log that it has allocated from paged pool. A page fault is
served by waiting for a page, and nothing can wait now: whatever CR8 says, the report shows 0xFF.
"""

from driver.crashes.device import *
from driver.vmx_guest import VMX_GUEST, alloc_guest, free_guest, vmx_start, vmx_stop, vmx_supported
from ntsim.intrin import *
from ntsim.wdm import *

TAG, LOG_SIZE = 0x6E426248, 0x4000  # 'HbBn'
Guest, Log = VMX_GUEST(), PVOID()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    if not vmx_supported():
        return STATUS_NOT_SUPPORTED
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Status = STATUS_SUCCESS
    if CodeOf(Irp) == CRASH_START:
        Status = TryVmx()
    return Complete(Irp, Status)


def TryVmx() -> NTSTATUS:
    """Into VMX operation and out again, on the processor that we happen to be on."""
    Status = STATUS_INSUFFICIENT_RESOURCES
    Log[0] = ExAllocatePoolWithTag(PagedPool, LOG_SIZE, TAG)
    if Log[0] and alloc_guest(Guest):
        Status = StartAndStop()
    free_guest(Guest)
    if Log[0]:
        ExFreePoolWithTag(Log[0], TAG)
    return Status


def StartAndStop() -> NTSTATUS:
    _disable()
    RtlCopyMemory(Log[0], Guest, sizeof(VMX_GUEST))
    Failed = vmx_start(Guest)
    if not Failed:
        vmx_stop(Guest)
    _enable()
    return STATUS_HV_OPERATION_FAILED if Failed else STATUS_SUCCESS
