"""The four control codes of the tutorial, which are those of Microsoft's sioctl sample.

One for each way in which the I/O manager hands over buffers. The device type is in the range that
is free for everybody (above 0x7FFF), so are the functions (above 0x7FF).
"""

from ntsim.win32 import (
    CTL_CODE,
    FILE_ANY_ACCESS,
    METHOD_BUFFERED,
    METHOD_IN_DIRECT,
    METHOD_NEITHER,
    METHOD_OUT_DIRECT,
)

SIOCTL_TYPE = 40000

IOCTL_SIOCTL_METHOD_IN_DIRECT = CTL_CODE(SIOCTL_TYPE, 0x900, METHOD_IN_DIRECT, FILE_ANY_ACCESS)
IOCTL_SIOCTL_METHOD_OUT_DIRECT = CTL_CODE(SIOCTL_TYPE, 0x901, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)
IOCTL_SIOCTL_METHOD_BUFFERED = CTL_CODE(SIOCTL_TYPE, 0x902, METHOD_BUFFERED, FILE_ANY_ACCESS)
IOCTL_SIOCTL_METHOD_NEITHER = CTL_CODE(SIOCTL_TYPE, 0x903, METHOD_NEITHER, FILE_ANY_ACCESS)
