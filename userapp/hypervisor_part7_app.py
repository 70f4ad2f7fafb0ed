"""Part 7: a page of this app is watched through EPT; every write to it is reported, and works."""

import sys
from typing import NamedTuple

from driver.hypervisor.system_ioctl import (
    BY_DPC,
    HV_EVENT_FORMAT,
    HV_EVENT_SIZE,
    HV_EVENTS,
    HV_VIRTUALISE,
    HV_WATCH_PAGE,
    WATCH_WRITE,
)
from ntsim.win32 import *
from userapp.hypervisor_part4_app import ask, open_device

REASONS = {0: "breakpoint", 30: "I/O instruction", 31: "RDMSR", 32: "WRMSR", 48: "EPT violation"}


class Event(NamedTuple):
    """One exit, as the driver reports it (HV_EVENT_FORMAT)."""

    processor: int
    reason: int
    rip: int
    detail: int
    value: int
    time: int
    lost: int


def unpack(data: bytes) -> list[Event]:
    """The records of one answer."""
    numbers, at = [], 0
    while at < len(data):
        size = HV_EVENT_FORMAT[len(numbers) % len(HV_EVENT_FORMAT)]
        numbers.append(int.from_bytes(data[at : at + size], "little"))
        at += size
    each = len(HV_EVENT_FORMAT)
    return [Event(*numbers[i : i + each]) for i in range(0, len(numbers), each)]


def events(device, room: int = 16) -> list[Event]:
    """What has been reported; waits for the first."""
    return unpack(DeviceIoControl(device, HV_EVENTS, b"", room * HV_EVENT_SIZE))


def main() -> int:
    device = open_device()
    memory = VirtualAlloc(0, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
    write_bytes(memory, b"before")
    ask(device, HV_VIRTUALISE, BY_DPC)
    ask(device, HV_WATCH_PAGE, memory, WATCH_WRITE)
    print("read:", read_bytes(memory, 6).decode())
    for offset in (0x10, 0x20):
        write_bytes(memory + offset, b"written")
        for event in events(device):
            where = event.value - memory
            reason, qualification = REASONS[event.reason], event.detail
            print(f"exit: {reason}, qualification {qualification:#x}, offset {where:#x} of page")
    print("read:", read_bytes(memory + 0x20, 7).decode())
    CloseHandle(device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
