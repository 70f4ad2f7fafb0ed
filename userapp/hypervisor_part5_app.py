"""Part 5: eight bytes of code in a guest of their own, and why each of its exits happened."""

import sys

from driver.hypervisor.system_ioctl import HV_RUN_GUEST
from ntsim.win32 import *
from userapp.hypervisor_part4_app import open_device, quads

CODE = b"\x31\xc0\x0f\xa2\xb0\x41\xe6\x80\xf4"  # xor eax, eax; cpuid; mov al, 'A'; out 80h, al; hlt
REASONS = {10: "CPUID", 12: "HLT", 30: "I/O instruction"}


def main() -> int:
    device = open_device()
    numbers = quads(DeviceIoControl(device, HV_RUN_GUEST, CODE, 512))
    for reason, qualification in zip(numbers[::2], numbers[1::2], strict=True):
        print(f"exit: {REASONS.get(reason, reason)}, qualification {qualification:#x}")
    CloseHandle(device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
