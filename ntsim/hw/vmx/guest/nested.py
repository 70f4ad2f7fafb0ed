"""Guest-physical memory of a guest with EPT: the engine's nested tables, filled as EPT allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.state import Guest

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit


def nested_fault(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """The engine's nested tables lack the page."""
    raise AssertionError(f"nested fault at {exit_.address:#x} without EPT")
