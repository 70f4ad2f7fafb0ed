"""Part 7: a page of this app is watched through EPT; every write to it is reported, and works."""

import sys

from driver.hypervisor.system_ioctl import (
    BY_DPC,
    HV_EVENT_SIZE,
    HV_EVENTS,
    HV_VIRTUALISE,
    HV_WATCH_PAGE,
)
from ntsim.win32 import *
from userapp.hypervisor_part4_app import ask, open_device

REASONS = {30: "I/O instruction", 31: "RDMSR", 32: "WRMSR", 48: "EPT violation"}


def unpack(data: bytes) -> list[tuple[int, ...]]:
    """(processor, exit reason, detail, value) of each record."""
    found = []
    for i in range(0, len(data), HV_EVENT_SIZE):
        fields = (data[i : i + 4], data[i + 4 : i + 8], data[i + 8 : i + 16], data[i + 16 : i + 24])
        found.append(tuple(int.from_bytes(field, "little") for field in fields))
    return found


def events(device, room: int = 16) -> list[tuple[int, ...]]:
    """What has been reported; waits for the first."""
    return unpack(DeviceIoControl(device, HV_EVENTS, b"", room * HV_EVENT_SIZE))


def main() -> int:
    device = open_device()
    memory = VirtualAlloc(0, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
    write_bytes(memory, b"before")
    ask(device, HV_VIRTUALISE, BY_DPC)
    ask(device, HV_WATCH_PAGE, memory)
    print("read:", read_bytes(memory, 6).decode())
    for offset in (0x10, 0x20):
        write_bytes(memory + offset, b"written")
        for _, reason, detail, value in events(device):
            where = value - memory
            print(f"exit: {REASONS[reason]}, qualification {detail:#x}, offset {where:#x} of page")
    print("read:", read_bytes(memory + 0x20, 7).decode())
    CloseHandle(device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
