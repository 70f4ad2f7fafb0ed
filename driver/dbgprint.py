"""The reader who sees no output: DbgPrint says nothing unless a mask lets it.

The story (the tutorial's part 2): the driver is loaded, DbgView runs, and nothing appears. The
advice there is to set IHVDRIVER to 0xFFFF under "Debug Print Filter" in the registry, and if that
does not help to write 0xffffffff to nt!Kd_DEFAULT_Mask with a debugger. The first cannot help, the
second does:

* DbgPrint(...) is DbgPrintEx(DPFLTR_DEFAULT_ID, DPFLTR_INFO_LEVEL, ...): DEFAULT, level 3.
* A message is shown if bit `level` is set in the component's mask or in nt!Kd_WIN2000_Mask. The
  first is 0 to begin with and the second 1: of every component, only level 0, DPFLTR_ERROR_LEVEL,
  is shown.
* IHVDRIVER is another component, the one for drivers that are not Microsoft's. Its mask, which the
  registry value sets at the next boot, is nt!Kd_IHVDRIVER_Mask, and DbgPrint does not look at it.

Look at m.debug_output, or at the run's debug output: the app lets the driver speak three times, as
it boots, with IHVDRIVER open, and with DEFAULT open, and one line more is shown each time.

Sources: WDK, "Reading and Filtering Debugging Messages", "DbgPrint", dpfilter.h.
"""

from driver.dbgprint_ioctl import DBG_OPEN_FILTER, DBG_SPEAK
from ntsim.wdm import *

ALL_LEVELS = 0xFFFFFFFF  # above 31 a level is a mask of levels

DeviceName = UNICODE_STRING("\\Device\\DbgPrintDemo")
LinkName = UNICODE_STRING("\\DosDevices\\DbgPrintDemo")


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    Speak("DriverEntry")
    Status, DeviceObject = IoCreateDevice(
        DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE
    )
    if not NT_SUCCESS(Status):
        return Status
    DriverObject.MajorFunction[IRP_MJ_CREATE] = CreateClose
    DriverObject.MajorFunction[IRP_MJ_CLOSE] = CreateClose
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = DeviceControl
    DriverObject.DriverUnload = Unload
    Status = IoCreateSymbolicLink(LinkName, DeviceName)
    if not NT_SUCCESS(Status):
        IoDeleteDevice(DeviceObject)
    return Status


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)


def Speak(When) -> None:
    """The same thing said three ways; which of them arrive is up to the masks."""
    DbgPrint("%s: DbgPrint (DEFAULT, INFO)\n", When)
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_INFO_LEVEL, "%s: DbgPrintEx(IHVDRIVER, INFO)\n", When)
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "%s: DbgPrintEx(IHVDRIVER, ERROR)\n", When)


def CreateClose(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Request = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl
    Input = read_bytes(Irp.AssociatedIrp.SystemBuffer, Request.InputBufferLength)
    if Request.IoControlCode == DBG_SPEAK:
        Speak(Input.decode(errors="replace"))
        return Complete(Irp, STATUS_SUCCESS)
    if Request.IoControlCode == DBG_OPEN_FILTER and len(Input) == sizeof(ULONG):
        Component = int.from_bytes(Input, "little")
        return Complete(Irp, DbgSetDebugFilterState(Component, ALL_LEVELS, TRUE))
    return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST)


def Complete(Irp: PIRP, Status: NTSTATUS) -> NTSTATUS:
    Irp.IoStatus.Status = Status
    Irp.IoStatus.Information = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status
