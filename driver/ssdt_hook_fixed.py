"""ssdt_hook.py put right: the object manager asks before it makes a handle to a process.

ObRegisterCallbacks is made for this: the handle comes without the right to terminate, for whoever
opens or duplicates it, and nothing of the kernel's has to be changed. (On Windows the driver must
be linked with /INTEGRITYCHECK and be signed.)
"""

from driver.ssdt_ioctl import SSDT_PROTECT
from ntsim.wdm import *

PROCESS_TERMINATE = 1
DeviceName = UNICODE_STRING("\\Device\\Ssdt")
LinkName = UNICODE_STRING("\\DosDevices\\Ssdt")
Altitude = "321000"


class GLOBALS(Structure):
    Registration: PVOID
    Protected: ULONGLONG


Globals = GLOBALS()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    Status, DeviceObject = IoCreateDevice(
        DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE
    )
    if not NT_SUCCESS(Status):
        return Status
    Status = IoCreateSymbolicLink(LinkName, DeviceName)
    if not NT_SUCCESS(Status):
        IoDeleteDevice(DeviceObject)
        return Status
    for Major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
        DriverObject.MajorFunction[Major] = Succeed
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = DeviceControl
    DriverObject.DriverUnload = Unload
    Status = Register()
    if not NT_SUCCESS(Status):
        IoDeleteSymbolicLink(LinkName)
        IoDeleteDevice(DeviceObject)
    return Status


def Unload(DriverObject: PDRIVER_OBJECT):
    ObUnRegisterCallbacks(Globals.Registration)
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)


def Register() -> NTSTATUS:
    Types = PVOID()
    Types[0] = PsProcessType[0]
    Operation = OB_OPERATION_REGISTRATION()
    Operation.ObjectType = Types
    Operation.Operations = OB_OPERATION_HANDLE_CREATE | OB_OPERATION_HANDLE_DUPLICATE
    Operation.PreOperation = BeforeHandle
    Registration = OB_CALLBACK_REGISTRATION()
    Registration.Version = OB_FLT_REGISTRATION_VERSION
    Registration.OperationRegistrationCount = 1
    Registration.OperationRegistration = Operation
    RtlInitUnicodeString(Registration.Altitude, Altitude)
    Status, Globals.Registration = ObRegisterCallbacks(Registration)
    return Status


def BeforeHandle(RegistrationContext, OperationInformation):
    Information = cast(OperationInformation, POINTER(OB_PRE_OPERATION_INFORMATION))
    Owner = PsGetProcessId(Information.Object)
    if Owner == Globals.Protected and ExGetPreviousMode() == UserMode:
        if Information.Operation == OB_OPERATION_HANDLE_CREATE:
            Wanted = Information.Parameters.CreateHandleInformation
        else:
            Wanted = Information.Parameters.DuplicateHandleInformation
        if Wanted.DesiredAccess & PROCESS_TERMINATE:
            DbgPrint("process %I64u is protected\n", Owner)
            Wanted.DesiredAccess &= ~PROCESS_TERMINATE
    return OB_PREOP_SUCCESS


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Parameters = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl
    Status = STATUS_INVALID_DEVICE_REQUEST
    if Parameters.IoControlCode == SSDT_PROTECT:
        Status = STATUS_BUFFER_TOO_SMALL
        if Parameters.InputBufferLength >= 8:
            Globals.Protected = cast(Irp.AssociatedIrp.SystemBuffer, PULONGLONG)[0]
            Status = STATUS_SUCCESS
    return Complete(Irp, Status)


def Succeed(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS)


def Complete(Irp: PIRP, Status: NTSTATUS) -> NTSTATUS:
    Irp.IoStatus.Status = Status
    Irp.IoStatus.Information = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status
