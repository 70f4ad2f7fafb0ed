"""One line of the benchmarks' table."""

from typing import NamedTuple


class Row(NamedTuple):
    """A figure, its unit, and the figure aimed at where there is one."""

    what: str
    measured: float
    unit: str
    aim: float | None = None
