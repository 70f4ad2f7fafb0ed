"""windows.h for apps: Win32 calls with pywin32's signatures, constants, control codes."""

from ntsim.um.win32 import NAMES as _NAMES

globals().update(_NAMES)
__all__ = sorted(_NAMES)
