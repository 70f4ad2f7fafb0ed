"""Part 6: CPUID before, while and after this very system is a guest.

CPUID needs no privilege and always exits: an app sees at once who answers.
"""

import sys

from driver.hypervisor.system_ioctl import (
    BY_AFFINITY,
    BY_DPC,
    BY_IPI,
    HV_DEVIRTUALISE,
    HV_VIRTUALISE,
)
from ntsim.intrin import __cpuid
from ntsim.win32 import *
from userapp.hypervisor_part4_app import ask, open_device


def who_answers() -> str:
    """The hypervisor's twelve characters, or what an Intel processor says to an unknown leaf."""
    _, ebx, ecx, edx = __cpuid(0x40000000)
    name = b"".join(register.to_bytes(4, "little") for register in (ebx, ecx, edx))
    return name.decode() if name.isascii() and name.decode().isprintable() else "nobody"


def main() -> int:
    device = open_device()
    print("before:", who_answers())
    for way, name in ((BY_AFFINITY, "affinity"), (BY_DPC, "DPC"), (BY_IPI, "IPI")):
        ask(device, HV_VIRTUALISE, way)
        print(f"virtualised by {name}:", who_answers())
        Sleep(50)
        ask(device, HV_DEVIRTUALISE, way)
        print("after:", who_answers())
    CloseHandle(device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
