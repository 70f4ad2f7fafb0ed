"""pnp_function.py with one line left out: the system's power IRP is never passed on.

Look at ToasterPowerDone. The device reached its state, but the IRP for the system state, which the
driver has marked pending, stays with the driver for ever. Ten minutes later: 0x9F.
"""

import driver.pnp_function as toaster
from ntsim.wdm import *


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    toaster.ToasterPowerDone = ToasterPowerDone
    return toaster.DriverEntry(DriverObject, RegistryPath)


def ToasterPowerDone(
    DeviceObject: PDEVICE_OBJECT, Minor: UCHAR, State, Context: PVOID, IoStatus: PIO_STATUS_BLOCK
) -> None:
    DbgPrint("toaster: the device is in D%u\n", State.DeviceState - PowerDeviceD0)
