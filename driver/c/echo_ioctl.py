"""The control codes of echo.c, for apps."""

from ntsim.abi.ioctl import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN

ECHO_BUFFERED, ECHO_IN_DIRECT, ECHO_OUT_DIRECT, ECHO_NEITHER = (
    CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + method, method, FILE_ANY_ACCESS) for method in range(4)
)
