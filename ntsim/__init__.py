"""ntsim: a simulated Windows NT kernel on simulated multi-processor x86-64 hardware with VT-x.

`Machine` is the way in; the errors beside it are what a run can end in. Everything is loaded at
first use: `import ntsim` alone costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ntsim.errors import (
        BugCheck,
        ConfigurationError,
        DriverLoadError,
        Error,
        Hang,
        ScheduleError,
        UnmodelledRoutine,
    )
    from ntsim.machine import CpuModel, Machine

__version__ = "0.1.0"

__all__ = [
    "BugCheck",
    "ConfigurationError",
    "CpuModel",
    "DriverLoadError",
    "Error",
    "Hang",
    "Machine",
    "ScheduleError",
    "UnmodelledRoutine",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module at first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'ntsim' has no attribute {name!r}")
    module = "ntsim.machine" if name in ("CpuModel", "Machine") else "ntsim.errors"
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
