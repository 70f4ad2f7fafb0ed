"""What dbgprint.py and dbgprint_app.py share."""

from ntsim.win32 import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED

# Print three lines, each tagged with the text that is the input.
DBG_SPEAK = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
# Let every level of one component through; the input is the component's number, a ULONG.
DBG_OPEN_FILTER = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS)

DPFLTR_IHVDRIVER_ID = 77  # dpfilter.h
DPFLTR_DEFAULT_ID = 101
