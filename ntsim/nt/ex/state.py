"""The executive's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.nt.ex.pool import Pool

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


class Ex:
    """`pool` is both pools."""

    def __init__(self, nt: Kernel) -> None:
        self.pool = Pool(nt)
