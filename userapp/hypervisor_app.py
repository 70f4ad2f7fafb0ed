"""The tutorial's app, part 3: detect VT-x, open the device, call its four control codes.

While the device is open every processor is in VMX root operation; CloseHandle ends that. What comes
back is printed as Microsoft's sioctl test app prints it.
"""

import sys

from driver.hypervisor.ioctl import (
    IOCTL_SIOCTL_METHOD_BUFFERED,
    IOCTL_SIOCTL_METHOD_IN_DIRECT,
    IOCTL_SIOCTL_METHOD_NEITHER,
    IOCTL_SIOCTL_METHOD_OUT_DIRECT,
)
from ntsim.win32 import *
from userapp.hypervisor_part2_app import CheckProcessor, OpenDevice


def TestIoctl(Handle) -> None:
    TestAnswer(Handle, "METHOD_BUFFERED", IOCTL_SIOCTL_METHOD_BUFFERED)
    TestAnswer(Handle, "METHOD_NEITHER", IOCTL_SIOCTL_METHOD_NEITHER)
    TestInDirect(Handle)
    TestAnswer(Handle, "METHOD_OUT_DIRECT", IOCTL_SIOCTL_METHOD_OUT_DIRECT)


def TestAnswer(Handle, Method: str, Code: int) -> None:
    """Send a text, print the driver's."""
    print(f"\nCalling DeviceIoControl {Method}")
    InputBuffer = f"This String is from User Application; using {Method}\0".encode()
    OutputBuffer = DeviceIoControl(Handle, Code, InputBuffer, 1000)
    print(f"    OutBuffer ({len(OutputBuffer)}): {OutputBuffer.rstrip(bytes(1)).decode()}")


def TestInDirect(Handle) -> None:
    """Here the output buffer brings data to the driver, and nothing comes back in it."""
    print("\nCalling DeviceIoControl METHOD_IN_DIRECT")
    InputBuffer = b"This String is from User Application; using METHOD_IN_DIRECT\0"
    OutputBuffer = bytearray(
        b"This String is from User Application in OutBuffer; using METHOD_IN_DIRECT\0"
    )
    DeviceIoControl(Handle, IOCTL_SIOCTL_METHOD_IN_DIRECT, InputBuffer, OutputBuffer)
    print(f"    Number of bytes transferred from OutBuffer: {len(OutputBuffer)}")


def TestReadWrite(Handle) -> None:
    """The driver has routines for both that do nothing."""
    print("\nCalling ReadFile and WriteFile")
    _, Read = ReadFile(Handle, 100)
    _, Written = WriteFile(Handle, b"anything")
    print(f"    {len(Read)} bytes read, {Written} written")


def main() -> int:
    if not CheckProcessor():
        return 1
    Handle = OpenDevice()
    if Handle is None:
        return 1
    TestIoctl(Handle)
    TestReadWrite(Handle)
    CloseHandle(Handle)
    print("\n[*] The device is closed .")
    return 0


if __name__ == "__main__":
    sys.exit(main())
