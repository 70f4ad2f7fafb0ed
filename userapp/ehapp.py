"""The app of driver/eh.py and driver/eh_fixed.py: runs 17 bytes of code in a guest.

It calls EH_RUN until the guest halts and prints what made each call come back. With eh.py the first
call never comes back: look at the bug check. With eh_fixed.py: OUT of 0x41, then HLT.
"""

import struct
import sys

from driver.eh_ioctl import EH_EXIT_FORMAT, EH_EXIT_HLT, EH_EXIT_IO, EH_GET_EXIT, EH_RUN
from ntsim.win32 import *

# fmt: off
virtualized_code = bytes([
    0x48, 0x31, 0xC0,              # xor rax, rax
    0x0F, 0xA2,                    # cpuid
    0xBA, 0xF8, 0x03, 0x00, 0x00,  # mov edx, 0x3f8
    0x66, 0xB8, 0x41, 0x00,        # mov ax, 0x41
    0x66, 0xEF,                    # out dx, ax: 16 bits
    0xF4,                          # hlt
])
# fmt: on


def main() -> int:
    print(r"opening \\.\EHDriver")
    device = CreateFile(
        r"\\.\EHDriver", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None
    )
    reason = run(device, "launching the guest", virtualized_code)
    while reason == EH_EXIT_IO:
        reason = run(device, "resuming the guest", b"")
    CloseHandle(device)
    return 0 if reason == EH_EXIT_HLT else 1


def run(device, step: str, code: bytes) -> int:
    """One EH_RUN: until the guest does something that concerns us. Returns the exit reason."""
    print(step)
    DeviceIoControl(device, EH_RUN, code, 0)
    report = DeviceIoControl(device, EH_GET_EXIT, b"", struct.calcsize(EH_EXIT_FORMAT))
    reason, offset, port, size, is_in, value, rax = struct.unpack(EH_EXIT_FORMAT, report)
    if reason == EH_EXIT_IO:
        name = "IN" if is_in else "OUT"
        print(f"  +{offset:#x}: {name} of {value:#x} ({8 * size} bits), port {port:#x}")
    elif reason == EH_EXIT_HLT:
        print(f"  +{offset:#x}: HLT, rax = {rax:#x}")
    else:
        print(f"  +{offset:#x}: exit reason {reason:#x}, which we do not handle")
    return reason


if __name__ == "__main__":
    sys.exit(main())
