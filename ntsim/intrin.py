"""intrin.h for Python drivers (and, where the instruction is not privileged, apps)."""

from ntsim.host import intrinsics_ports, intrinsics_vmx
from ntsim.host.intrinsics import INTRINSICS

globals().update(INTRINSICS)
__all__ = sorted(INTRINSICS)
