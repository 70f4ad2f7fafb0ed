"""A system-call hook, as many a first driver is written: nobody may end the processes it protects.

KiServiceTable has four bytes for each system service: the routine's distance from the table times
16, plus how many arguments lie on the stack. The driver finds the table where KiSystemCall64, to
which IA32_LSTAR leads, has its address; the number of NtOpenProcess stands in the stub of
ZwOpenProcess. It clears CR0.WP, writes the distance of its own routine and calls the original for
all but the process it protects.

That works, for some minutes: then kernel patch protection compares the table with what it was.
ssdt_hook_fixed.py does the same with ObRegisterCallbacks, which is made for it.
"""

from driver.ssdt_ioctl import SSDT_PROTECT
from ntsim.intrin import *
from ntsim.wdm import *

IA32_LSTAR, CR0_WP = 0xC0000082, 1 << 16
PROCESS_TERMINATE = 1
TABLE_PATTERN = b"\x25\xff\x0f\x00\x00\x4c\x8d\x15"
"""AND EAX, 0FFFh; LEA R10, [KeServiceDescriptorTable]."""

NUMBER_IN_STUB = 0x15
DeviceName = UNICODE_STRING("\\Device\\Ssdt")
LinkName = UNICODE_STRING("\\DosDevices\\Ssdt")
Routine = UNICODE_STRING("ZwOpenProcess")


class GLOBALS(Structure):
    Table: ULONGLONG
    Number: ULONG
    OldEntry: LONG
    Original: PVOID
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
    Hook()
    return STATUS_SUCCESS


def Unload(DriverObject: PDRIVER_OBJECT):
    WriteEntry(Globals.OldEntry)
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)


def Hook():
    Globals.Table = FindServiceTable()
    Globals.Number = cast(MmGetSystemRoutineAddress(Routine) + NUMBER_IN_STUB, PULONG)[0]
    Globals.OldEntry = cast(Globals.Table + 4 * Globals.Number, PLONG)[0]
    Globals.Original = Globals.Table + (Globals.OldEntry >> 4)
    Own = PVOID()
    Own[0] = HookNtOpenProcess
    WriteEntry((Own[0] - Globals.Table) << 4 | Globals.OldEntry & 0xF)


def FindServiceTable():
    Code = __readmsr(IA32_LSTAR)
    At = read_bytes(Code, 0x200).index(TABLE_PATTERN) + len(TABLE_PATTERN)
    Distance = cast(Code + At, PLONG)[0]
    return cast(Code + At + 4 + Distance, PULONGLONG)[0]


def WriteEntry(Entry):
    _disable()
    Cr0 = __readcr0()
    __writecr0(Cr0 & ~CR0_WP)
    cast(Globals.Table + 4 * Globals.Number, PLONG)[0] = Entry
    __writecr0(Cr0)
    _enable()


def HookNtOpenProcess(ProcessHandle, DesiredAccess, ObjectAttributes, ClientId) -> NTSTATUS:
    if ExGetPreviousMode() == UserMode and DesiredAccess & PROCESS_TERMINATE:
        try:
            ProbeForRead(ClientId, 16, 8)
            Wanted = cast(ClientId, PULONGLONG)[0]
        except StructuredException as Error:
            return Error.ExceptionCode
        if Wanted == Globals.Protected:
            DbgPrint("process %I64u is protected\n", Wanted)
            return STATUS_ACCESS_DENIED
    return cast(Globals.Original, PROUTINE)(
        ProcessHandle, DesiredAccess, ObjectAttributes, ClientId
    )


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
