"""The committed .sys files are what their sources give: a rebuild has the same bytes.

Needs the compiler that made them (`driver/c/build.py` names its version); skipped without it.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from driver.c.build import HERE, ZIGLANG, build

SOURCES = sorted(HERE.glob("*.c"))


def compiler() -> str | None:
    try:
        return version("ziglang")
    except PackageNotFoundError:
        return None


def test_every_source_has_its_driver_and_every_driver_its_source() -> None:
    drivers = {file.stem for file in HERE.glob("*.sys")}
    assert SOURCES and {source.stem for source in SOURCES} == drivers


@pytest.mark.skipif(compiler() != ZIGLANG, reason=f"needs ziglang {ZIGLANG}: pip install it")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_rebuild_is_byte_identical(source: Path, tmp_path: Path) -> None:
    made = build(source, tmp_path)
    assert made.parent == tmp_path
    assert made.read_bytes() == source.with_suffix(".sys").read_bytes()
