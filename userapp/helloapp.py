"""The app of driver/hello.py: open the device, send a name, print the answer."""

from driver.hello_ioctl import HELLO_GREET
from ntsim.win32 import *

device = CreateFile(r"\\.\Hello", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None)
answer = DeviceIoControl(device, HELLO_GREET, b"kernel", 100)
print(answer.decode())
CloseHandle(device)
