"""What hello.py and helloapp.py share, as a C driver and its app share one header.

CTL_CODE and its parts stand in `ntsim.win32` and `ntsim.wdm` alike (on Windows both headers include
devioctl.h); a file that both sides import takes them from `ntsim.win32`.
"""

from ntsim.win32 import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED

HELLO_GREET = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
