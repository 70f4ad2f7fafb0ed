"""The assembly stub through which trap code reaches KeBugCheckEx."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def ki_bug_check_dispatch(
    nt: Kernel,
    code: int,
    one: int = 0,
    two: int = 0,
    three: int = 0,
    four: int = 0,
    irql: int | None = None,
) -> NoReturn:
    """Stop the system from trap code. `irql` is the level to report if it is not CR8's."""
    nt.bugcheck(code, one, two, three, four, irql=irql)
