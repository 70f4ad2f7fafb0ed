"""The tutorial's hypervisor, parts 2 and 3: every processor in VMX root operation while it is open.

"Hypervisor From Scratch" by the end of its third part: a device, a dispatch table, the four kinds
of buffers, and VMXON with a VMCS on each logical processor. No guest runs yet.

    driver.py      this file: the device and its dispatch table
    dispatch.py    DrvIoctlDispatcher: METHOD_BUFFERED, IN_DIRECT, OUT_DIRECT, NEITHER
    vmx.py         InitializeVmx and TerminateVmx, processor by processor
    memory.py      the VMXON region and the VMCS region
    processor.py   going from processor to processor, and asking each whether it can
    msr.py         MSR numbers and bits; ioctl.py: the control codes

Load this file, run userapp/hypervisor_app.py. Look at what DbgPrint says between CreateFile and
CloseHandle: eight processors, eight pairs of regions. Where a routine does something else than the
tutorial's, because that had a bug, its docstring says "Compare".
"""

from hypervisor.dispatch import DrvIoctlDispatcher
from hypervisor.vmx import InitializeVmx, TerminateVmx

from ntsim.wdm import *

DriverName = UNICODE_STRING("\\Device\\MyHypervisorDevice")
DosDeviceName = UNICODE_STRING("\\DosDevices\\MyHypervisorDevice")


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    """Create the device and fill the dispatch table.

    Compare: the device is exclusive, because opening and closing it turns VMX on and off and a
    second open would execute VMXON again. The loop includes the last function, IRP_MJ_PNP.
    """
    DbgPrint("[*] DriverEntry Called.\n")
    NtStatus, DeviceObject = IoCreateDevice(
        DriverObject, 0, DriverName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, TRUE
    )
    if not NT_SUCCESS(NtStatus):
        DbgPrint("[*] There were some errors in creating device.\n")
        return NtStatus
    for Index in range(IRP_MJ_MAXIMUM_FUNCTION + 1):
        DriverObject.MajorFunction[Index] = DrvUnsupported
    DbgPrint("[*] Setting Devices major functions.\n")
    DriverObject.MajorFunction[IRP_MJ_CLOSE] = DrvClose
    DriverObject.MajorFunction[IRP_MJ_CREATE] = DrvCreate
    DriverObject.MajorFunction[IRP_MJ_CLEANUP] = DrvCleanup
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = DrvIoctlDispatcher
    DriverObject.MajorFunction[IRP_MJ_READ] = DrvRead
    DriverObject.MajorFunction[IRP_MJ_WRITE] = DrvWrite
    DriverObject.DriverUnload = DrvUnload
    NtStatus = IoCreateSymbolicLink(DosDeviceName, DriverName)
    if not NT_SUCCESS(NtStatus):
        IoDeleteDevice(DeviceObject)
    return NtStatus


def DrvUnload(DriverObject: PDRIVER_OBJECT) -> None:
    DbgPrint("[*] DrvUnload Called.\n")
    IoDeleteSymbolicLink(DosDeviceName)
    IoDeleteDevice(DriverObject.DeviceObject)


def DrvCreate(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """Compare: if VMX does not start, the open fails; the tutorial says so and succeeds."""
    DbgPrint("[*] DrvCreate Called !\n")
    NtStatus = InitializeVmx()
    if NT_SUCCESS(NtStatus):
        DbgPrint("[*] VMX Initiated Successfully.\n")
    return Complete(Irp, NtStatus)


def DrvCleanup(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """The handle is closed: nothing to do before IRP_MJ_CLOSE, and nothing that may fail."""
    return Complete(Irp, STATUS_SUCCESS)


def DrvClose(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    DbgPrint("[*] DrvClose Called !\n")
    TerminateVmx()
    return Complete(Irp, STATUS_SUCCESS)


def DrvRead(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """Succeeds with nothing read."""
    DbgPrint("[*] Not implemented yet :( !\n")
    return Complete(Irp, STATUS_SUCCESS)


def DrvWrite(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """Succeeds with nothing written."""
    DbgPrint("[*] Not implemented yet :( !\n")
    return Complete(Irp, STATUS_SUCCESS)


def DrvUnsupported(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """Compare: the app is told so, too; the tutorial's completes with STATUS_SUCCESS."""
    DbgPrint("[*] This function is not supported :( !\n")
    return Complete(Irp, STATUS_NOT_SUPPORTED)


def Complete(Irp: PIRP, NtStatus: NTSTATUS) -> NTSTATUS:
    Irp.IoStatus.Status = NtStatus
    Irp.IoStatus.Information = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return NtStatus
