"""What ssdt_hook.py, its repaired version and ssdt_app.py share."""

from ntsim.win32 import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED

SSDT_PROTECT = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
"""In: the id of the process that nobody may end, 8 bytes."""
