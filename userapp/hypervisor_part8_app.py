"""Part 8: exits arrive while they happen: a thread waits for them, another makes them happen.

Two requests at once on one handle need FILE_FLAG_OVERLAPPED; without it the second would wait for
the first. The system is virtualised by IPI. At the end the app just exits: its waiting request is
cancelled, and IRP_MJ_CLEANUP gives the processors back.
"""

import sys

from driver.hypervisor.system_ioctl import (
    BY_IPI,
    HV_EVENT_SIZE,
    HV_EVENTS,
    HV_TOUCH,
    HV_VIRTUALISE,
    HV_WATCH_MSR,
    HV_WATCH_PORT,
)
from ntsim.win32 import *
from userapp.hypervisor_part7_app import REASONS, unpack

IA32_LSTAR, COM1 = 0xC0000082, 0x3F8
ROOM = 16 * HV_EVENT_SIZE


def call(device, code: int, number: int = 0, room: int = 8) -> bytes:
    """DeviceIoControl on an overlapped handle, waited for by this thread."""
    overlapped = OVERLAPPED()
    overlapped.hEvent = CreateEvent(None, True, False, None)
    out = DeviceIoControl(device, code, number.to_bytes(8, "little"), room, overlapped)
    length = GetOverlappedResult(device, overlapped, True)
    CloseHandle(overlapped.hEvent)
    return bytes(out[:length])


def watch(device) -> None:
    while True:
        for event in unpack(call(device, HV_EVENTS, room=ROOM)):
            print(f"exit: {REASONS[event.reason]} {event.detail:#x}, value {event.value:#x}")


def main() -> int:
    device = CreateFile(
        r"\\.\HypervisorSystem",
        GENERIC_READ | GENERIC_WRITE,
        0,
        None,
        OPEN_EXISTING,
        FILE_FLAG_OVERLAPPED,
        None,
    )
    call(device, HV_VIRTUALISE, BY_IPI)
    call(device, HV_WATCH_MSR, IA32_LSTAR)
    call(device, HV_WATCH_PORT, COM1)
    CreateThread(None, 0, watch, (device,))
    for _ in range(3):
        lstar = int.from_bytes(call(device, HV_TOUCH), "little")
        print(f"KiSystemCall64 is at {lstar:#x}")
        Sleep(30)
    return 0


if __name__ == "__main__":
    sys.exit(main())
