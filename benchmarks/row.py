"""One line of the benchmarks' table."""

from typing import NamedTuple


class Row(NamedTuple):
    """A figure, its unit, and the figure aimed at where there is one.

    `at_most` says that less is better: then `measured` should be no more than `aim`. `note` is
    printed below, as it is.
    """

    what: str
    measured: float
    unit: str
    aim: float | None = None
    at_most: bool = False
    note: str = ""
