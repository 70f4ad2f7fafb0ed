"""What pnp_function.py and pnp_function_app.py share: the interface class and the control codes."""

from ntsim.win32 import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED

TOASTER_CLASS = "6b1f6d2e-5a5c-4a7e-9d0c-3f0a61c0be11"
TOASTER_GUID = (
    0x6B1F6D2E, 0x5A5C, 0x4A7E, 0x9D, 0x0C, 0x3F, 0x0A, 0x61, 0xC0, 0xBE, 0x11,
)  # fmt: skip
"""The same GUID, as DEFINE_GUID takes it."""

TOASTER_PATH = f"\\\\?\\ROOT#TOASTER#0000#{{{TOASTER_CLASS}}}"
"""The interface of the first toaster. On Windows an app asks SetupDiGetClassDevs for it."""

IOCTL_TOASTER_START = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
IOCTL_TOASTER_WAIT = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS)
