"""The tutorial's app, part 2: what CPUID says about VT-x, then open the device.

CPUID needs no privilege, so an app can ask. hypervisor_app.py goes on from here.
"""

import sys

from ntsim.intrin import __cpuid
from ntsim.win32 import *


def GetCpuID() -> str:
    """The vendor: twelve characters in EBX, EDX, ECX of leaf 0, in this order."""
    _, ebx, ecx, edx = __cpuid(0)
    return b"".join(register.to_bytes(4, "little") for register in (ebx, edx, ecx)).decode()


def DetectVmxSupport() -> bool:
    """CPUID.1:ECX.VMX[bit 5]."""
    _, _, ecx, _ = __cpuid(1)
    return bool(ecx & 1 << 5)


def CheckProcessor() -> bool:
    CpuID = GetCpuID()
    print("[*] The CPU Vendor is :", CpuID)
    if CpuID != "GenuineIntel":
        print("[*] This program is not designed to run in a non-VT-x environment !")
        return False
    print("[*] The Processor virtualization technology is VT-x.")
    if not DetectVmxSupport():
        print("[*] VMX Operation is not supported by your processor .")
        return False
    print("[*] VMX Operation is supported by your processor .")
    return True


def OpenDevice():
    """A handle, or None. Compare: the tutorial asks for overlapped I/O, then makes plain calls."""
    try:
        return CreateFile(
            r"\\.\MyHypervisorDevice",
            GENERIC_READ | GENERIC_WRITE,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            None,
            OPEN_EXISTING,
            FILE_ATTRIBUTE_NORMAL,
            None,
        )
    except error as e:
        print(f"[*] CreateFile failed : {e.winerror} ({e.strerror})")
        return None


def main() -> int:
    if not CheckProcessor():
        return 1
    Handle = OpenDevice()
    if Handle is None:
        return 1
    print("[*] The device is open .")
    CloseHandle(Handle)
    return 0


if __name__ == "__main__":
    sys.exit(main())
