"""The tutorial's driver by the end of part 2: a device, a dispatch table, and CR4.VMXE.

Opening the device sets bit 13 of CR4, the switch without which VMXON is an invalid opcode. Look at
which processor gets it: the one that DrvCreate runs on, no other. Part 3 (driver/hypervisor) visits
them all.
"""

from ntsim.intrin import *
from ntsim.wdm import *

DriverName = UNICODE_STRING("\\Device\\MyHypervisorDevice")
DosDeviceName = UNICODE_STRING("\\DosDevices\\MyHypervisorDevice")


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    """Every major function answers; compare: the tutorial's loop stops before the last one."""
    DbgPrint("[*] DriverEntry Called.\n")
    NtStatus, DeviceObject = IoCreateDevice(
        DriverObject, 0, DriverName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE
    )
    if not NT_SUCCESS(NtStatus):
        DbgPrint("[*] There were some errors in creating device.\n")
        return NtStatus
    for Index in range(IRP_MJ_MAXIMUM_FUNCTION + 1):
        DriverObject.MajorFunction[Index] = DrvUnsupported
    DbgPrint("[*] Setting Devices major functions.\n")
    DriverObject.MajorFunction[IRP_MJ_CREATE] = DrvCreate
    DriverObject.MajorFunction[IRP_MJ_CLEANUP] = DrvNothingYet
    DriverObject.MajorFunction[IRP_MJ_CLOSE] = DrvNothingYet
    DriverObject.MajorFunction[IRP_MJ_READ] = DrvNothingYet
    DriverObject.MajorFunction[IRP_MJ_WRITE] = DrvNothingYet
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
    AsmEnableVmxOperation()
    DbgPrint("[*] VMX Operation Enabled Successfully !\n")
    return Complete(Irp, STATUS_SUCCESS)


def AsmEnableVmxOperation() -> None:
    """Set CR4.VMXE[bit 13]; in C this is assembly, __writecr4 is its instruction."""
    __writecr4(__readcr4() | 1 << 13)


def DrvNothingYet(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
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
