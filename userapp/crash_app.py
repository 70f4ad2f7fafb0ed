"""What users of the drivers in driver/crashes did: open the device, start, work, send, stop.

Each of these drivers takes only some of the steps in earnest, and every step is harmless with a
correct one. An error of a call is printed and is no failure: a driver that refuses does what it
should.
"""

from driver.crashes.crash_ioctl import CRASH_SEND, CRASH_START, CRASH_STOP, CRASH_WORK
from ntsim.win32 import *

PAGE, SIZE = 0x1000, 6000
"""The app's memory comes in pages; what it wants the driver to work on does not."""


def step(name: str, code: int, data=b"", length: int = 0) -> None:
    try:
        answer = DeviceIoControl(device, code, data, length)
        print(name, *([answer.hex()] if answer else []))
    except error as e:
        print(name, "failed:", e.strerror)


device = CreateFile(r"\\.\Crash", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None)
memory = VirtualAlloc(0, 4 * PAGE, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
write_bytes(memory, b"from the app")
event = CreateEvent(None, True, False, None)
step("start", CRASH_START, event.to_bytes(8, "little"))
step("work", CRASH_WORK, SIZE.to_bytes(4, "little"))
step("send", CRASH_SEND, (memory, PAGE))
step("stop", CRASH_STOP)
CloseHandle(device)
