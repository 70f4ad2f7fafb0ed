"""The processors there are models of: what silicon reports, and what of it ntsim does not run.

A file for each processor holds what it reports, as public dumps have it; `limits.py` says which
features no model has here because the engine or ntsim cannot run them. `ntsim.hw.cpu_model` makes
the model of the difference; the auditor (`ntsim vmcs check`) uses the values of silicon.
"""

from ntsim.errors import ConfigurationError
from ntsim.hw.silicon.i7_1065g7 import I7_1065G7
from ntsim.hw.silicon.i7_6820hq import I7_6820HQ
from ntsim.hw.silicon.processor import Leaf, Mask, Silicon
from ntsim.hw.silicon.xeon_w3670 import XEON_W3670

DEFAULT = I7_6820HQ
PROCESSORS = {one.name: one for one in (I7_6820HQ, XEON_W3670, I7_1065G7)}

__all__ = ["DEFAULT", "PROCESSORS", "Leaf", "Mask", "Silicon", "silicon_of"]


def silicon_of(name: str) -> Silicon:
    """The processor of this name, in any case; ConfigurationError lists the ones there are."""
    for known, found in PROCESSORS.items():
        if known.lower() == name.lower():
            return found
    raise ConfigurationError(
        f"no CPU model is called {name!r}: use {', '.join(PROCESSORS)}, or give your own "
        "ntsim.CpuModel"
    )
