"""wdm.h for Python drivers: every routine, type and constant by its WDK name."""

from ntsim.abi import ioctl as _ioctl
from ntsim.abi import ntstatus as _ntstatus
from ntsim.abi import se as _se
from ntsim.abi import vmx_constants as _vmx_constants
from ntsim.abi import wdm_constants as _constants
from ntsim.host import declarations as _declarations
from ntsim.host.faces import faces as _faces
from ntsim.host.kernel_variables import KERNEL_VARIABLES as _VARIABLES
from ntsim.host.macros import MACROS as _MACROS


def _names() -> dict[str, object]:
    """Constants, then types, then routines; a later kind never hides an earlier one by accident."""
    found: dict[str, object] = {}
    for module in (_vmx_constants, _ioctl, _se, _constants, _ntstatus):
        found |= {
            n: v for n, v in vars(module).items() if n[:1].isupper() and not n.startswith("_")
        }
    found |= _declarations.type_names()
    found |= _declarations.helpers() | _MACROS | _VARIABLES
    found |= {name: face for name, face in _faces().items() if name not in found}
    return found


_ALL = _names()
globals().update(_ALL)
__all__ = sorted(_ALL)
