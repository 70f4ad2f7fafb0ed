"""The app of driver/pnp_function.py: open the toaster by its interface, toast one slice."""

from driver.pnp_function_ioctl import IOCTL_TOASTER_START, IOCTL_TOASTER_WAIT, TOASTER_PATH
from ntsim.win32 import *

toaster = CreateFile(TOASTER_PATH, GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None)
DeviceIoControl(toaster, IOCTL_TOASTER_START, None, 0)
DeviceIoControl(toaster, IOCTL_TOASTER_WAIT, None, 0)
print("Toast!")
CloseHandle(toaster)
