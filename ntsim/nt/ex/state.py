"""The executive's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.nt.ex.pool import Pool

if TYPE_CHECKING:
    from ntsim.nt.ex.work_queue import WorkQueue
    from ntsim.nt.kernel import Kernel


class Ex:
    """`pool` is both pools, `work` the system worker threads' queue once it exists.

    `resource_list` is nt!ExpSystemResourcesList, `lookaside_lists` the heads of the nonpaged and
    the paged look-aside lists: 0 until the first of a kind is initialized.
    """

    def __init__(self, nt: Kernel) -> None:
        self.pool = Pool(nt)
        self.work: WorkQueue | None = None
        self.random: Any = None
        self.last_uuid_time = 0
        self.resource_list = 0
        self.lookaside_lists = [0, 0]
