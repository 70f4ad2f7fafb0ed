/* A WDM function driver: AddDevice, start, an interrupt, power, removal. */
#include <ntddk.h>

typedef struct {
    PDEVICE_OBJECT Self, Pdo, Below;
    IO_REMOVE_LOCK RemoveLock;
    UNICODE_STRING Interface;
    PKINTERRUPT Interrupt;
    ULONG Interrupts;
    DEVICE_POWER_STATE State;
} EXTENSION;

static const GUID Class = {0x6b1f6d2e, 0x5a5c, 0x4a7e,
                           {0x9d, 0x0c, 0x3f, 0x0a, 0x61, 0xc0, 0xbe, 0x12}};

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status)
{
    Irp->IoStatus.Status = Status;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static BOOLEAN NTAPI PnpInterrupt(PKINTERRUPT Interrupt, PVOID Context)
{
    EXTENSION *Extension = Context;
    UNREFERENCED_PARAMETER(Interrupt);
    IoRequestDpc(Extension->Self, NULL, Extension);
    return TRUE;
}

static VOID NTAPI PnpDpc(PKDPC Dpc, PDEVICE_OBJECT Device, PIRP Irp, PVOID Context)
{
    EXTENSION *Extension = Context;
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(Device);
    UNREFERENCED_PARAMETER(Irp);
    DbgPrint("pnp: interrupt %u\n", ++Extension->Interrupts);
}

static NTSTATUS Start(EXTENSION *Extension, PCM_RESOURCE_LIST List)
{
    ULONG Index, Count = List ? List->List[0].PartialResourceList.Count : 0;

    for (Index = 0; Index < Count; Index++) {
        PCM_PARTIAL_RESOURCE_DESCRIPTOR Resource =
            &List->List[0].PartialResourceList.PartialDescriptors[Index];
        if (Resource->Type == CmResourceTypeInterrupt) {
            KIRQL Level = (KIRQL)Resource->u.Interrupt.Level;
            NTSTATUS Status;
            IoInitializeDpcRequest(Extension->Self, PnpDpc);
            Status = IoConnectInterrupt(&Extension->Interrupt, PnpInterrupt, Extension, NULL,
                                        Resource->u.Interrupt.Vector, Level, Level,
                                        LevelSensitive, TRUE, Resource->u.Interrupt.Affinity,
                                        FALSE);
            if (!NT_SUCCESS(Status))
                return Status;
        }
    }
    return IoSetDeviceInterfaceState(&Extension->Interface, TRUE);
}

static NTSTATUS NTAPI PnpPnp(PDEVICE_OBJECT Device, PIRP Irp)
{
    EXTENSION *Extension = Device->DeviceExtension;
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    NTSTATUS Status = IoAcquireRemoveLock(&Extension->RemoveLock, Irp);

    if (!NT_SUCCESS(Status))
        return Complete(Irp, Status);
    switch (Stack->MinorFunction) {
    case IRP_MN_START_DEVICE:
        IoForwardIrpSynchronously(Extension->Below, Irp);
        Status = Irp->IoStatus.Status;
        if (NT_SUCCESS(Status))
            Status = Start(Extension, Stack->Parameters.StartDevice.AllocatedResourcesTranslated);
        Complete(Irp, Status);
        IoReleaseRemoveLock(&Extension->RemoveLock, Irp);
        return Status;
    case IRP_MN_REMOVE_DEVICE:
        IoReleaseRemoveLockAndWait(&Extension->RemoveLock, Irp);
        if (Extension->Interrupt)
            IoDisconnectInterrupt(Extension->Interrupt);
        RtlFreeUnicodeString(&Extension->Interface);
        Irp->IoStatus.Status = STATUS_SUCCESS;
        IoSkipCurrentIrpStackLocation(Irp);
        Status = IoCallDriver(Extension->Below, Irp);
        IoDetachDevice(Extension->Below);
        IoDeleteDevice(Device);
        return Status;
    case IRP_MN_QUERY_REMOVE_DEVICE:
    case IRP_MN_CANCEL_REMOVE_DEVICE:
    case IRP_MN_SURPRISE_REMOVAL:
    case IRP_MN_QUERY_STOP_DEVICE:
    case IRP_MN_CANCEL_STOP_DEVICE:
    case IRP_MN_STOP_DEVICE:
        Irp->IoStatus.Status = STATUS_SUCCESS;
        break;
    }
    IoSkipCurrentIrpStackLocation(Irp);
    Status = IoCallDriver(Extension->Below, Irp);
    IoReleaseRemoveLock(&Extension->RemoveLock, Irp);
    return Status;
}

/* The device is where the system wants it: the IRP for the system state goes on. */
static VOID NTAPI PnpPowerDone(PDEVICE_OBJECT Device, UCHAR Minor, POWER_STATE State,
                               PVOID Context, PIO_STATUS_BLOCK IoStatus)
{
    EXTENSION *Extension = Device->DeviceExtension;
    PIRP Irp = Context;
    DbgPrint("pnp: %u done, D%d, status %x\n", Minor, State.DeviceState - PowerDeviceD0,
             IoStatus->Status);
    IoSkipCurrentIrpStackLocation(Irp);
    PoCallDriver(Extension->Below, Irp);
}

static NTSTATUS NTAPI PnpPower(PDEVICE_OBJECT Device, PIRP Irp)
{
    EXTENSION *Extension = Device->DeviceExtension;
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    POWER_STATE State = Stack->Parameters.Power.State, Old;

    if (Stack->MinorFunction == IRP_MN_SET_POWER) {
        if (Stack->Parameters.Power.Type == SystemPowerState) {
            State.DeviceState =
                State.SystemState == PowerSystemWorking ? PowerDeviceD0 : PowerDeviceD3;
            IoMarkIrpPending(Irp);
            PoRequestPowerIrp(Device, IRP_MN_SET_POWER, State, PnpPowerDone, Irp, NULL);
            return STATUS_PENDING;
        }
        Old = PoSetPowerState(Device, DevicePowerState, State);
        DbgPrint("pnp: from %d to %d\n", Old.DeviceState, State.DeviceState);
        Extension->State = State.DeviceState;
    }
    IoSkipCurrentIrpStackLocation(Irp);
    return PoCallDriver(Extension->Below, Irp);
}

static NTSTATUS NTAPI PnpSystemControl(PDEVICE_OBJECT Device, PIRP Irp)
{
    EXTENSION *Extension = Device->DeviceExtension;
    IoSkipCurrentIrpStackLocation(Irp);
    return IoCallDriver(Extension->Below, Irp);
}

static NTSTATUS NTAPI PnpCreateClose(PDEVICE_OBJECT Device, PIRP Irp)
{
    UNREFERENCED_PARAMETER(Device);
    return Complete(Irp, STATUS_SUCCESS);
}

static NTSTATUS NTAPI PnpAddDevice(PDRIVER_OBJECT Driver, PDEVICE_OBJECT Pdo)
{
    PDEVICE_OBJECT Device;
    EXTENSION *Extension;
    NTSTATUS Status =
        IoCreateDevice(Driver, sizeof(EXTENSION), NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);

    if (!NT_SUCCESS(Status))
        return Status;
    Extension = Device->DeviceExtension;
    Extension->Self = Device;
    Extension->Pdo = Pdo;
    IoInitializeRemoveLock(&Extension->RemoveLock, 'pnpT', 0, 0);
    Status = IoRegisterDeviceInterface(Pdo, &Class, NULL, &Extension->Interface);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(Device);
        return Status;
    }
    Extension->Below = IoAttachDeviceToDeviceStack(Device, Pdo);
    Device->Flags |= DO_POWER_PAGABLE;
    Device->Flags &= ~DO_DEVICE_INITIALIZING;
    DbgPrint("pnp: %wZ\n", &Extension->Interface);
    return STATUS_SUCCESS;
}

static VOID NTAPI PnpUnload(PDRIVER_OBJECT Driver)
{
    UNREFERENCED_PARAMETER(Driver);
    DbgPrint("pnp: unload\n");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path)
{
    UNREFERENCED_PARAMETER(Path);
    Driver->DriverExtension->AddDevice = PnpAddDevice;
    Driver->DriverUnload = PnpUnload;
    Driver->MajorFunction[IRP_MJ_CREATE] = PnpCreateClose;
    Driver->MajorFunction[IRP_MJ_CLOSE] = PnpCreateClose;
    Driver->MajorFunction[IRP_MJ_CLEANUP] = PnpCreateClose;
    Driver->MajorFunction[IRP_MJ_PNP] = PnpPnp;
    Driver->MajorFunction[IRP_MJ_POWER] = PnpPower;
    Driver->MajorFunction[IRP_MJ_SYSTEM_CONTROL] = PnpSystemControl;
    return STATUS_SUCCESS;
}
