/* A bus master's driver: the operations of its adapter, called through their table.

   Source: WDK IoGetDmaAdapter, DMA_OPERATIONS, "Using Bus-Master DMA". */
#include <ntddk.h>

#define SIZE 6000

static UCHAR *Buffer;

static VOID List(PDEVICE_OBJECT Device, PIRP Irp, PSCATTER_GATHER_LIST Given, PVOID Context)
{
    PDMA_ADAPTER Adapter = Context;
    ULONG Bytes = 0, Index;
    PHYSICAL_ADDRESS First = MmGetPhysicalAddress(Buffer);

    UNREFERENCED_PARAMETER(Device);
    for (Index = 0; Index < Given->NumberOfElements; Index++)
        Bytes += Given->Elements[Index].Length;
    DbgPrint("list: %u bytes, irp %p, first %d\n", Bytes, Irp,
             Given->Elements[0].Address.QuadPart == First.QuadPart);
    Adapter->DmaOperations->PutScatterGatherList(Adapter, Given, TRUE);
}

static IO_ALLOCATION_ACTION Channel(PDEVICE_OBJECT Device, PIRP Irp, PVOID Base, PVOID Context)
{
    PVOID *Given = Context;
    PDMA_ADAPTER Adapter = Given[0];
    PMDL Mdl = Given[1];
    ULONG Length = SIZE;
    PHYSICAL_ADDRESS Address;

    UNREFERENCED_PARAMETER(Device);
    UNREFERENCED_PARAMETER(Irp);
    Address = Adapter->DmaOperations->MapTransfer(Adapter, Mdl, Base, Buffer, &Length, TRUE);
    DbgPrint("map: %d %d\n", Address.QuadPart != 0, Length > 0 && Length <= SIZE);
    DbgPrint("flush: %d\n", Adapter->DmaOperations->FlushAdapterBuffers(
                                Adapter, Mdl, Base, Buffer, Length, TRUE));
    return DeallocateObject;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    DEVICE_DESCRIPTION Description;
    PDEVICE_OBJECT Device;
    PDMA_ADAPTER Adapter;
    PHYSICAL_ADDRESS Logical;
    PVOID Common, Given[2];
    NTSTATUS Status;
    ULONG Registers;
    KIRQL Irql;
    PMDL Mdl;

    UNREFERENCED_PARAMETER(RegistryPath);
    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    RtlZeroMemory(&Description, sizeof(Description));
    Description.Version = DEVICE_DESCRIPTION_VERSION;
    Description.Master = Description.ScatterGather = Description.Dma32BitAddresses = TRUE;
    Description.InterfaceType = PCIBus;
    Description.MaximumLength = 0x10000;
    Adapter = IoGetDmaAdapter(NULL, &Description, &Registers);
    if (Adapter == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    DbgPrint("registers: %u, alignment %u\n", Registers,
             Adapter->DmaOperations->GetDmaAlignment(Adapter));
    Common = Adapter->DmaOperations->AllocateCommonBuffer(Adapter, 100, &Logical, TRUE);
    RtlZeroMemory(Common, 100);
    DbgPrint("common: %d\n", MmGetPhysicalAddress(Common).QuadPart == Logical.QuadPart);
    Adapter->DmaOperations->FreeCommonBuffer(Adapter, 100, Logical, Common, TRUE);

    Buffer = ExAllocatePoolWithTag(NonPagedPoolNx, SIZE, 'AMD ');
    Mdl = IoAllocateMdl(Buffer, SIZE, FALSE, FALSE, NULL);
    MmBuildMdlForNonPagedPool(Mdl);
    Given[0] = Adapter;
    Given[1] = Mdl;
    KeRaiseIrql(DISPATCH_LEVEL, &Irql);
    Status = Adapter->DmaOperations->AllocateAdapterChannel(Adapter, Device, 3, Channel, Given);
    DbgPrint("channel: %x\n", Status);
    Status = Adapter->DmaOperations->GetScatterGatherList(Adapter, Device, Mdl, Buffer, SIZE, List,
                                                          Adapter, TRUE);
    DbgPrint("status: %x\n", Status);
    KeLowerIrql(Irql);
    IoFreeMdl(Mdl);
    ExFreePoolWithTag(Buffer, 'AMD ');
    Adapter->DmaOperations->PutDmaAdapter(Adapter);
    if (Registers == 17)
        Adapter->DmaOperations->ReadDmaCounter(Adapter);
    IoDeleteDevice(Device);
    return STATUS_UNSUCCESSFUL;
}
