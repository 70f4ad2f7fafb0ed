"""A WDM function driver: it owns a toaster that comes and goes.

The device has one port (bread goes in with a write) and one interrupt (the toast is done). Look at
ToasterPnp: what a function driver does before, and what after, the drivers below it have had the
IRP; and at the remove lock, which makes IRP_MN_REMOVE_DEVICE wait for requests under way.
ToasterPower turns the system's power IRP into one for the device. An app finds the device by its
interface.
"""

from driver.pnp_function_ioctl import IOCTL_TOASTER_START, IOCTL_TOASTER_WAIT, TOASTER_GUID
from ntsim.wdm import *

GUID_DEVINTERFACE_TOASTER = DEFINE_GUID(*TOASTER_GUID)
TAG = 0x74736F54  # 'Tost'


class DEVICE_EXTENSION(Structure):
    Self: PDEVICE_OBJECT
    PhysicalDeviceObject: PDEVICE_OBJECT
    NextLowerDriver: PDEVICE_OBJECT
    RemoveLock: IO_REMOVE_LOCK
    InterfaceName: UNICODE_STRING
    Interrupt: PKINTERRUPT
    Port: ULONGLONG
    ToastDone: KEVENT
    Toasts: ULONG
    DevicePower: ULONG


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    DriverObject.DriverExtension.AddDevice = ToasterAddDevice
    DriverObject.DriverUnload = ToasterUnload
    for Major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
        DriverObject.MajorFunction[Major] = ToasterCreateClose
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = ToasterDeviceControl
    DriverObject.MajorFunction[IRP_MJ_PNP] = ToasterPnp
    DriverObject.MajorFunction[IRP_MJ_POWER] = ToasterPower
    DriverObject.MajorFunction[IRP_MJ_SYSTEM_CONTROL] = ToasterSystemControl
    return STATUS_SUCCESS


def ToasterUnload(DriverObject: PDRIVER_OBJECT) -> None:
    """Nothing is left to do: the last device went with its IRP_MN_REMOVE_DEVICE."""


def ToasterAddDevice(DriverObject: PDRIVER_OBJECT, Pdo: PDEVICE_OBJECT) -> NTSTATUS:
    """A device of our own on top of the bus driver's. The hardware is not touched yet."""
    Status, Fdo = IoCreateDevice(
        DriverObject, sizeof(DEVICE_EXTENSION), NULL, FILE_DEVICE_UNKNOWN,
        FILE_DEVICE_SECURE_OPEN, FALSE,
    )  # fmt: skip
    if not NT_SUCCESS(Status):
        return Status
    Extension = cast(Fdo.DeviceExtension, DEVICE_EXTENSION)
    Extension.Self, Extension.PhysicalDeviceObject = Fdo, Pdo
    Extension.DevicePower = PowerDeviceD3
    IoInitializeRemoveLock(Extension.RemoveLock, TAG, 0, 0)
    KeInitializeEvent(Extension.ToastDone, SynchronizationEvent, FALSE)
    Status = IoRegisterDeviceInterface(
        Pdo, GUID_DEVINTERFACE_TOASTER, NULL, Extension.InterfaceName
    )
    if NT_SUCCESS(Status):
        Extension.NextLowerDriver = IoAttachDeviceToDeviceStack(Fdo, Pdo)
        if not Extension.NextLowerDriver:
            RtlFreeUnicodeString(Extension.InterfaceName)
            Status = STATUS_NO_SUCH_DEVICE
    if not NT_SUCCESS(Status):
        IoDeleteDevice(Fdo)
        return Status
    Fdo.Flags = (Fdo.Flags | DO_POWER_PAGABLE) & ~DO_DEVICE_INITIALIZING
    return STATUS_SUCCESS


# Plug and Play


def ToasterPnp(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Extension = cast(DeviceObject.DeviceExtension, DEVICE_EXTENSION)
    Stack = IoGetCurrentIrpStackLocation(Irp)
    Status = IoAcquireRemoveLock(Extension.RemoveLock, Irp)
    if not NT_SUCCESS(Status):
        return Complete(Irp, Status, 0)
    Minor = Stack.MinorFunction
    if Minor == IRP_MN_START_DEVICE:
        # From below to above: the bus first, then the device itself.
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoForwardIrpSynchronously(Extension.NextLowerDriver, Irp)
        Status = Irp.IoStatus.Status
        if NT_SUCCESS(Status):
            Status = ToasterStart(Extension, Stack.Parameters.StartDevice)
        Complete(Irp, Status, Irp.IoStatus.Information)
        IoReleaseRemoveLock(Extension.RemoveLock, Irp)
        return Status
    if Minor == IRP_MN_REMOVE_DEVICE:
        # No request comes in any more, and those under way are over when the call returns.
        IoReleaseRemoveLockAndWait(Extension.RemoveLock, Irp)
        ToasterStop(Extension)
        IoSetDeviceInterfaceState(Extension.InterfaceName, FALSE)
        RtlFreeUnicodeString(Extension.InterfaceName)
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoSkipCurrentIrpStackLocation(Irp)
        Status = IoCallDriver(Extension.NextLowerDriver, Irp)
        IoDetachDevice(Extension.NextLowerDriver)
        IoDeleteDevice(DeviceObject)
        return Status
    if Minor in (IRP_MN_STOP_DEVICE, IRP_MN_SURPRISE_REMOVAL):
        ToasterStop(Extension)
    if Minor in SUCCEEDS:
        Irp.IoStatus.Status = STATUS_SUCCESS
    IoSkipCurrentIrpStackLocation(Irp)
    Status = IoCallDriver(Extension.NextLowerDriver, Irp)
    IoReleaseRemoveLock(Extension.RemoveLock, Irp)
    return Status


SUCCEEDS = (
    IRP_MN_STOP_DEVICE, IRP_MN_QUERY_STOP_DEVICE, IRP_MN_CANCEL_STOP_DEVICE,
    IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_SURPRISE_REMOVAL,
)  # fmt: skip
"""Others are passed down with the status they came with: STATUS_NOT_SUPPORTED is an answer too."""


def ToasterStart(Extension: DEVICE_EXTENSION, Start) -> NTSTATUS:
    """Find the port and the interrupt among the translated resources, and use them."""
    if not Start.AllocatedResourcesTranslated:
        return STATUS_DEVICE_CONFIGURATION_ERROR
    List = cast(Start.AllocatedResourcesTranslated, CM_RESOURCE_LIST).List[0].PartialResourceList
    for Index in range(List.Count):
        Resource = List.PartialDescriptors[Index]
        if Resource.Type == CmResourceTypePort:
            Extension.Port = Resource.u.Port.Start.QuadPart
        elif Resource.Type == CmResourceTypeInterrupt:
            Interrupt = Resource.u.Interrupt
            IoInitializeDpcRequest(Extension.Self, ToasterDpc)
            Status, Extension.Interrupt = IoConnectInterrupt(
                ToasterInterrupt, Extension, NULL, Interrupt.Vector, Interrupt.Level,
                Interrupt.Level, LevelSensitive, TRUE, Interrupt.Affinity, FALSE,
            )  # fmt: skip
            if not NT_SUCCESS(Status):
                return Status
    PoSetPowerState(Extension.Self, DevicePowerState, PowerDeviceD0)
    Extension.DevicePower = PowerDeviceD0
    return IoSetDeviceInterfaceState(Extension.InterfaceName, TRUE)


def ToasterStop(Extension: DEVICE_EXTENSION) -> None:
    if Extension.Interrupt:
        IoDisconnectInterrupt(Extension.Interrupt)
        Extension.Interrupt = NULL


def ToasterInterrupt(Interrupt: PKINTERRUPT, ServiceContext: PVOID) -> BOOLEAN:
    """At DIRQL: say that it is ours, and leave the rest to the DPC."""
    Extension = cast(ServiceContext, DEVICE_EXTENSION)
    IoRequestDpc(Extension.Self, NULL, Extension)
    return TRUE


def ToasterDpc(Dpc: PKDPC, DeviceObject: PDEVICE_OBJECT, Irp: PIRP, Context: PVOID) -> None:
    Extension = cast(Context, DEVICE_EXTENSION)
    Extension.Toasts += 1
    KeSetEvent(Extension.ToastDone, IO_NO_INCREMENT, FALSE)


# Power: the system's state becomes the device's


def ToasterPower(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Extension = cast(DeviceObject.DeviceExtension, DEVICE_EXTENSION)
    Stack = IoGetCurrentIrpStackLocation(Irp)
    Power = Stack.Parameters.Power
    if Stack.MinorFunction == IRP_MN_SET_POWER and Power.Type == SystemPowerState:
        Device = POWER_STATE()
        Working = Power.State.SystemState == PowerSystemWorking
        Device.DeviceState = PowerDeviceD0 if Working else PowerDeviceD3
        IoMarkIrpPending(Irp)
        PoRequestPowerIrp(DeviceObject, IRP_MN_SET_POWER, Device, ToasterPowerDone, Irp, NULL)
        return STATUS_PENDING
    if Stack.MinorFunction == IRP_MN_SET_POWER:
        DbgPrint("toaster: D%u\n", Power.State.DeviceState - PowerDeviceD0)
        Extension.DevicePower = Power.State.DeviceState
        PoSetPowerState(DeviceObject, DevicePowerState, Power.State)
    IoSkipCurrentIrpStackLocation(Irp)
    return PoCallDriver(Extension.NextLowerDriver, Irp)


def ToasterPowerDone(
    DeviceObject: PDEVICE_OBJECT, Minor: UCHAR, State, Context: PVOID, IoStatus: PIO_STATUS_BLOCK
) -> None:
    """The device is where the system wants it: the system's IRP goes on to the bus."""
    Extension = cast(DeviceObject.DeviceExtension, DEVICE_EXTENSION)
    Irp = cast(Context, PIRP)
    IoSkipCurrentIrpStackLocation(Irp)
    PoCallDriver(Extension.NextLowerDriver, Irp)


# The app's side


def ToasterCreateClose(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS, 0)


def ToasterDeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Extension = cast(DeviceObject.DeviceExtension, DEVICE_EXTENSION)
    Status = IoAcquireRemoveLock(Extension.RemoveLock, Irp)
    if not NT_SUCCESS(Status):
        return Complete(Irp, Status, 0)
    Code = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.IoControlCode
    Status = STATUS_SUCCESS
    if Code == IOCTL_TOASTER_START:
        WRITE_PORT_UCHAR(Extension.Port, 1)
    elif Code == IOCTL_TOASTER_WAIT:
        Status = KeWaitForSingleObject(Extension.ToastDone, Executive, KernelMode, FALSE, NULL)
        DbgPrint("toaster: toast %u is done\n", Extension.Toasts)
    else:
        Status = STATUS_INVALID_DEVICE_REQUEST
    Complete(Irp, Status, 0)
    IoReleaseRemoveLock(Extension.RemoveLock, Irp)
    return Status


def ToasterSystemControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Extension = cast(DeviceObject.DeviceExtension, DEVICE_EXTENSION)
    IoSkipCurrentIrpStackLocation(Irp)
    return IoCallDriver(Extension.NextLowerDriver, Irp)


def Complete(Irp: PIRP, Status: NTSTATUS, Information: ULONG_PTR) -> NTSTATUS:
    Irp.IoStatus.Status = Status
    Irp.IoStatus.Information = Information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status
