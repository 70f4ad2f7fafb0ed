"""The control codes of the drivers in this folder, for them and their app.

What a code does is the driver's affair; one that means nothing to it is completed with success.
"""

from ntsim.win32 import (
    CTL_CODE,
    FILE_ANY_ACCESS,
    FILE_DEVICE_UNKNOWN,
    METHOD_BUFFERED,
    METHOD_NEITHER,
)

CRASH_START = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
CRASH_WORK = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS)
CRASH_SEND = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_NEITHER, FILE_ANY_ACCESS)
CRASH_STOP = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x803, METHOD_BUFFERED, FILE_ANY_ACCESS)
"""Start what the driver is for; use it; send it a buffer of the app's own; stop it."""
