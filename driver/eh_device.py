"""The device of the forum's hypervisor: what stands around EH_RUN and is the same in both versions.

Each handle has a virtual processor of its own: IRP_MJ_CREATE puts it into FsContext, IRP_MJ_CLEANUP
(the last handle is closed) takes it off its processor, IRP_MJ_CLOSE (the last reference is gone)
frees it. VMXOFF concerns the processor that executes it, so cleanup goes there first.
"""

from driver.eh_vcpu import EH_EXIT, PVCPU, VCPU, VCPU_STATE_CLEAR, VCPU_STATE_LAUNCHED, stop_vcpu
from driver.vmx_guest import alloc_guest, free_guest, vmx_supported
from ntsim.intrin import *
from ntsim.wdm import *

VCPU_TAG = int.from_bytes(b"EhVc", "little")

DeviceName = UNICODE_STRING("\\Device\\EHDriver")
LinkName = UNICODE_STRING("\\DosDevices\\EHDriver")


def log_error(message, *arguments) -> None:
    """Shown by default: level 0, DPFLTR_ERROR_LEVEL."""
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "EH: " + message, *arguments)


def log_debug(message, *arguments) -> None:
    """Shown only if Kd_DEFAULT_Mask lets it through."""
    DbgPrint("EH: " + message, *arguments)


def eh_driver_load(driver_object, ioctl_dispatcher) -> NTSTATUS:
    """The body of DriverEntry."""
    if not vmx_supported():
        log_error("no VT-x here, or firmware has locked it off\n")
        return STATUS_NOT_SUPPORTED
    status, device_object = IoCreateDevice(
        driver_object, 0, DeviceName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE
    )
    if not NT_SUCCESS(status):
        return status
    driver_object.MajorFunction[IRP_MJ_CREATE] = eh_driver_create
    driver_object.MajorFunction[IRP_MJ_CLEANUP] = eh_driver_cleanup
    driver_object.MajorFunction[IRP_MJ_CLOSE] = eh_driver_close
    driver_object.MajorFunction[IRP_MJ_DEVICE_CONTROL] = ioctl_dispatcher
    driver_object.DriverUnload = eh_driver_unload
    status = IoCreateSymbolicLink(LinkName, DeviceName)
    if not NT_SUCCESS(status):
        IoDeleteDevice(device_object)
    return status


def eh_driver_unload(driver_object) -> None:
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(driver_object.DeviceObject)


def eh_driver_create(device_object, irp) -> NTSTATUS:
    """A vcpu for the new handle. The processor that opens it is its home until it is loaded."""
    vcpu = cast(ExAllocatePoolWithTag(NonPagedPool, sizeof(VCPU), VCPU_TAG), PVCPU)
    if vcpu == NULL:
        return complete(irp, STATUS_INSUFFICIENT_RESOURCES)
    RtlZeroMemory(vcpu, sizeof(VCPU))
    vcpu.State = VCPU_STATE_CLEAR
    vcpu.Processor = KeGetCurrentProcessorNumberEx(NULL)
    if not alloc_guest(vcpu.Guest):
        free_vcpu(vcpu)
        return complete(irp, STATUS_INSUFFICIENT_RESOURCES)
    IoGetCurrentIrpStackLocation(irp).FileObject.FsContext = vcpu
    return complete(irp, STATUS_SUCCESS)


def eh_driver_cleanup(device_object, irp) -> NTSTATUS:
    vcpu = vcpu_of(irp)
    if vcpu.State == VCPU_STATE_LAUNCHED:
        stop_vcpu_on_its_processor(vcpu)
    return complete(irp, STATUS_SUCCESS)


def stop_vcpu_on_its_processor(vcpu) -> None:
    old_affinity = KeSetSystemAffinityThreadEx(1 << vcpu.Processor)
    old_irql = KeRaiseIrqlToDpcLevel()
    stop_vcpu(vcpu)
    KeLowerIrql(old_irql)
    KeRevertToUserAffinityThreadEx(old_affinity)


def eh_driver_close(device_object, irp) -> NTSTATUS:
    free_vcpu(vcpu_of(irp))
    return complete(irp, STATUS_SUCCESS)


def free_vcpu(vcpu) -> None:
    free_guest(vcpu.Guest)
    if vcpu.Code:
        ExFreePoolWithTag(vcpu.Code, VCPU_TAG)
    ExFreePoolWithTag(vcpu, VCPU_TAG)


def copy_code(vcpu, irp, length) -> int:
    """Move the guest's code from the request to executable memory; NULL if there is none.

    METHOD_IN_DIRECT: the input is in SystemBuffer, which goes away with the request. NonPagedPool
    is executable, NonPagedPoolNx is not.
    """
    if length == 0:
        return NULL
    vcpu.Code = ExAllocatePoolWithTag(NonPagedPool, length, VCPU_TAG)
    if vcpu.Code:
        RtlCopyMemory(vcpu.Code, irp.AssociatedIrp.SystemBuffer, length)
    return vcpu.Code


def eh_driver_ioctl_get_exit(irp) -> NTSTATUS:
    """METHOD_BUFFERED: SystemBuffer goes back to the app, Information bytes of it."""
    request = IoGetCurrentIrpStackLocation(irp).Parameters.DeviceIoControl
    if request.OutputBufferLength < sizeof(EH_EXIT):
        return STATUS_BUFFER_TOO_SMALL
    RtlCopyMemory(irp.AssociatedIrp.SystemBuffer, vcpu_of(irp).Exit, sizeof(EH_EXIT))
    irp.IoStatus.Information = sizeof(EH_EXIT)
    return STATUS_SUCCESS


def vcpu_of(irp):
    return cast(IoGetCurrentIrpStackLocation(irp).FileObject.FsContext, PVCPU)


def complete(irp, status) -> NTSTATUS:
    """Complete a request; Information is what has been put there."""
    irp.IoStatus.Status = status
    IoCompleteRequest(irp, IO_NO_INCREMENT)
    return status
