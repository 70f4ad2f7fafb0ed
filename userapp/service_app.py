"""Stops a driver's service while a request is under way in it, and starts it again.

`service_app.py SERVICE [FILE]`: the service; a driver's file to be installed under another name
first, as somebody does who has forgotten that it is there. An error of a call is printed and is no
failure: a driver that refuses does what it should.
"""

import sys

from driver.crashes.crash_ioctl import CRASH_WORK
from ntsim.win32 import *


def step(name: str, routine, *arguments):
    try:
        result = routine(*arguments)
    except error as e:
        print(name, "failed:", e.strerror)
        return None
    print(name)
    return result


def send(path: str) -> None:
    try:
        device = CreateFile(path, GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None)
    except error:
        return
    DeviceIoControl(device, CRASH_WORK, b"", 0)
    CloseHandle(device)
    print("sent")


def main() -> int:
    manager = OpenSCManager(None, None, SC_MANAGER_ALL_ACCESS)
    service = OpenService(manager, sys.argv[1], SERVICE_ALL_ACCESS)
    for file in sys.argv[2:]:
        another = CreateService(
            manager, "Another", None, SERVICE_ALL_ACCESS, SERVICE_KERNEL_DRIVER,
            SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, file,
        )  # fmt: skip
        step("start another", StartService, another)
    thread, _ = CreateThread(None, 0, send, r"\\.\Hooked", 0)
    Sleep(10)
    step("stop", ControlService, service, SERVICE_CONTROL_STOP)
    WaitForSingleObject(thread, INFINITE)
    step("start", StartService, service)
    return 0


if __name__ == "__main__":
    sys.exit(main())
