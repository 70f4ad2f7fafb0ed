"""The app of driver/ssdt_hook.py: has itself protected, and tries to end itself from outside."""

from driver.ssdt_ioctl import SSDT_PROTECT
from ntsim.win32 import *

PROCESS_TERMINATE, PROCESS_QUERY_INFORMATION = 1, 0x400

device = CreateFile(r"\\.\Ssdt", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None)
own = GetCurrentProcessId()
DeviceIoControl(device, SSDT_PROTECT, own.to_bytes(8, "little"), 0)
try:
    process = OpenProcess(PROCESS_TERMINATE, False, own)
    TerminateProcess(process, 1)
except error as refused:
    print(f"{refused.funcname} failed with {refused.winerror}: I am protected")
CloseHandle(OpenProcess(PROCESS_QUERY_INFORMATION, False, own))
print("asking about me is allowed")
CloseHandle(device)
