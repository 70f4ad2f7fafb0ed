"""What users of the crashing hypervisors in driver/hypervisor_crashes did: start it, and go on.

Every step is harmless with driver/hypervisor_system.py. An error of a call is printed and is no
failure: a driver that refuses does what it should.
"""

import sys

from driver.hypervisor.system_ioctl import (
    BY_AFFINITY,
    HV_BAD_WRITE,
    HV_DEVIRTUALISE,
    HV_EXITS,
    HV_SECOND,
    HV_TOUCH,
    HV_VIRTUALISE,
    HV_WATCH_MSR,
    HV_WATCH_PAGE,
    WATCH_WRITE,
)
from ntsim.win32 import *
from userapp.hypervisor_part4_app import ask, open_device

IA32_LSTAR = 0xC0000082


def step(device, name: str, code: int, *numbers: int) -> None:
    try:
        print(name, *(hex(value) for value in ask(device, code, *numbers)))
    except error as e:
        print(name, "failed:", e.strerror)


def main() -> int:
    device = open_device()
    memory = VirtualAlloc(0, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
    write_bytes(memory, b"before")
    step(device, "virtualise", HV_VIRTUALISE, BY_AFFINITY)
    step(device, "count exits", HV_EXITS)
    step(device, "watch an MSR", HV_WATCH_MSR, IA32_LSTAR)
    step(device, "touch", HV_TOUCH)
    step(device, "write a bad value", HV_BAD_WRITE)
    step(device, "watch a page", HV_WATCH_PAGE, memory, WATCH_WRITE)
    write_bytes(memory, b"after")
    step(device, "second hypervisor", HV_SECOND)
    step(device, "devirtualise", HV_DEVIRTUALISE, BY_AFFINITY)
    CloseHandle(device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
