"""The app of driver/dbgprint.py: the same output, through three settings of the masks."""

from driver.dbgprint_ioctl import (
    DBG_OPEN_FILTER,
    DBG_SPEAK,
    DPFLTR_DEFAULT_ID,
    DPFLTR_IHVDRIVER_ID,
)
from ntsim.win32 import *

device = CreateFile(
    r"\\.\DbgPrintDemo", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None
)
print("as it boots: of three lines, the one of level ERROR is shown")
DeviceIoControl(device, DBG_SPEAK, b"as it boots", 0)

print("the registry's IHVDRIVER value: DbgPrintEx is shown, DbgPrint is not")
DeviceIoControl(device, DBG_OPEN_FILTER, DPFLTR_IHVDRIVER_ID.to_bytes(4, "little"), 0)
DeviceIoControl(device, DBG_SPEAK, b"IHVDRIVER open", 0)

print("nt!Kd_DEFAULT_Mask: all three are shown")
DeviceIoControl(device, DBG_OPEN_FILTER, DPFLTR_DEFAULT_ID.to_bytes(4, "little"), 0)
DeviceIoControl(device, DBG_SPEAK, b"DEFAULT open", 0)
CloseHandle(device)
