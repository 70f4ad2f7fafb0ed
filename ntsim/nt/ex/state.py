"""The executive's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.nt.ex.pool import Pool

if TYPE_CHECKING:
    from ntsim.nt.ex.work_queue import WorkQueue
    from ntsim.nt.kernel import Kernel


class Ex:
    """`pool` is both pools, `work` the system worker threads' queue once it exists."""

    def __init__(self, nt: Kernel) -> None:
        self.pool = Pool(nt)
        self.work: WorkQueue | None = None
