"""The self-test passes on the library that is installed and says what it misses on another."""

import ctypes

import pytest

from ntsim.hw.engine import Engine, EngineError, hostcode, layout, native, svm, unicorn_c
from ntsim.hw.engine import core as core_module
from ntsim.hw.engine.selftest import Bench, quick, selftest
from ntsim.hw.ram import PAGE_SIZE, Ram


def test_every_check_passes() -> None:
    checks = selftest()
    assert len(checks) > 30
    assert [check for check in checks if not check.ok] == []


def test_an_engine_can_be_asked() -> None:
    engine = Engine(Ram(PAGE_SIZE))
    assert all(check.ok for check in engine.selftest())
    assert not engine.started


def test_a_check_that_fails_names_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicorn_c, "SUPPORTED_VERSION", (9, 9, 9))
    with pytest.raises(EngineError, match=r"unicorn 2\.1\.4: .*version.*\(9, 9, 9\)"):
        core_module._checked(native.Native())


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicorn_c, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install unicorn==2\.1\.4"):
        unicorn_c._path()


def test_an_offset_that_is_not_unique_stops_the_engine() -> None:
    with pytest.raises(EngineError, match="the error code: 2 places"):
        layout._only({8, 16}, "the error code")


def test_without_executable_memory_a_python_callback_does_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hostcode, "store_and_stop", lambda: None)
    instance = native.Native()
    assert all(check.ok for check in quick(instance))
    instance.unmap_ram()


def test_calls_that_the_library_refuses_are_errors() -> None:
    with pytest.raises(EngineError, match="map nothing"):
        unicorn_c.check(15, "map nothing")


def test_control_blocks_lie_beyond_any_ram() -> None:
    bench = Bench()
    assert bench.world.slot.block >= native.ARENA_BASE > 1 << 46
    bench.engine.close()


@pytest.mark.parametrize(
    ("rights", "attributes"),
    [(0xA09B, 0xA9B), (0xC093, 0xC93), (0x8B, 0x8B), (0x1_0000, 0), (0x1_C0F3, 0x60)],
)
def test_access_rights_change_format(rights: int, attributes: int) -> None:
    packed = svm.pack_segment(0x10, rights, 0xFFFF_FFFF, 0x1234)
    assert ctypes.c_uint16.from_buffer_copy(packed, 2).value == attributes


@pytest.mark.parametrize(
    ("index", "bit"),
    [(0, 0), (0x1FFF, 0x3FFE), (0x2000, None), (0xC000_0080, 0x4100), (0xC001_0117, 0x822E)],
)
def test_places_in_the_msr_map(index: int, bit: int | None) -> None:
    assert svm.msr_bit(index) == bit
