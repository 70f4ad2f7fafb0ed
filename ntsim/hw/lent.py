"""Raw memory that will be taken back: special pool, whose blocks fault once they are freed.

As long as a lent page is mapped, structures in it are read through ctypes views, as fast as all raw
memory. When it is revoked every view that was handed out, whoever holds it, checks each access from
then on, and the places that were noted are forgotten.
"""

from __future__ import annotations

from typing import Any


class LentPage:
    """One page: structures with their views, and addresses whose place in RAM is remembered."""

    __slots__ = ("places", "views")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.views: list[tuple[Any, Any]] = []
