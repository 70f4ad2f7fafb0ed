"""Every module of the kernel that registers exports, found by walking the rooms."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

ROOMS = "ki ke ex ob mm io cc fsrtl ps se cm pnp po etw rtl kd hal wsk vf".split()


@cache
def load() -> None:
    """Import all of them, in a fixed order."""
    for room in ROOMS:
        package = importlib.import_module(f"ntsim.nt.{room}")
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"ntsim.nt.{room}.{module}")
