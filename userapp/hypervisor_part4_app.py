"""Part 4: where a physical address of this app lies once EPT is between it and memory."""

import sys

from driver.hypervisor.system_ioctl import HV_PHYSICAL, HV_TRANSLATE, NO_ADDRESS
from ntsim.win32 import *

LEVELS = ("PML4", "PML3", "PML2", "PML1")
BEYOND = 5 << 30


def open_device():
    return CreateFile(
        r"\\.\HypervisorSystem", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None
    )


def quads(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]


def ask(device, code: int, *numbers: int) -> list[int]:
    data = b"".join(number.to_bytes(8, "little") for number in numbers)
    return quads(DeviceIoControl(device, code, data, 512))


def show(device, address: int) -> None:
    found, *entries = ask(device, HV_TRANSLATE, address)
    print(f"guest-physical {address:#x}")
    for name, entry in zip(LEVELS, entries, strict=False):
        print(f"    {name} entry {entry:#018x}")
    print("    not mapped" if found == NO_ADDRESS else f"    machine address {found:#x}")


def main() -> int:
    device = open_device()
    memory = VirtualAlloc(0, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
    write_bytes(memory, b"here")
    (physical,) = ask(device, HV_PHYSICAL, memory)
    show(device, physical)
    show(device, BEYOND)
    CloseHandle(device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
