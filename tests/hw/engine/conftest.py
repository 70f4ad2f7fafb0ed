"""A small machine with a world, for tests of the engine."""

from collections.abc import Iterator

import pytest

from ntsim.hw.engine.selftest import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.engine.close()
