"""The control codes of virtualise.c."""

from ntsim.abi.ioctl import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED

VIRTUALISE_ON, VIRTUALISE_OFF, VIRTUALISE_EXITS, VIRTUALISE_CPUID = (
    CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + number, METHOD_BUFFERED, FILE_ANY_ACCESS)
    for number in range(4)
)
"""On every processor; away again; how many exits each has had (64 bits); CPUID leaf 40000000H."""
