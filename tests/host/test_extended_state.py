"""Extended processor state on processors without XSAVE: nothing is enabled, SSE can be saved.

Source: WDK RtlGetEnabledExtendedFeatures (0 without XSAVE), KeSaveExtendedProcessorState; SDM 2,
XGETBV; SDM 1, "Enabling the XSAVE Feature Set".
"""

from __future__ import annotations

from pathlib import Path

import pytest

import ntsim
from ntsim.hw.engine import hostcode
from ntsim.wdm import *

AVX = Path(__file__).parents[2] / "driver/c/avx.sys"
NESTING = "not the one that the thread saved last"
PLACE = "another thread or at another IRQL"


@pytest.fixture(params=["by block", "counted by the library"])
def counting(request):
    """Both ways in which the engine counts instructions."""
    if request.param == "by block":
        if hostcode.enter_block() is None:
            pytest.skip("this host does not allow machine code of ours")
        yield
    else:
        with hostcode.forbidden():
            yield


def test_a_driver_is_told_that_there_is_no_avx_and_saves_sse(ntsim_machine, counting):
    machine = ntsim_machine(processors=1)
    machine.load_driver(AVX)
    assert machine.debug_output == [
        "OSXSAVE, AVX: 0, 0; leaf D: 0",
        "enabled: 0, in shared data: 0",
        "saved: 0, mask 2, xmm7 1111, then 1111",
        "AVX: 0, mask 0",
        "XGETBV: c000001d",
        "CR4.OSXSAVE: c0000096",
    ]


def test_avx_is_refused_by_name_at_the_instruction(ntsim_machine, counting):
    machine = ntsim_machine(processors=1)
    driver = machine.load_driver(AVX)
    with pytest.raises(ntsim.UnmodelledRoutine, match="VEX-encoded instruction"):
        machine.unload_driver(driver)


def test_states_are_restored_in_the_order_they_were_saved_in(run_driver):
    def body():
        first, second = XSTATE_SAVE(), XSTATE_SAVE()
        KeSaveExtendedProcessorState(2, first)
        KeSaveExtendedProcessorState(2, second)
        KeRestoreExtendedProcessorState(second)
        KeRestoreExtendedProcessorState(first)
        KeSaveExtendedProcessorState(2, first)
        KeSaveExtendedProcessorState(2, second)
        KeRestoreExtendedProcessorState(first)

    with pytest.raises(ntsim.UnmodelledRoutine, match=NESTING):
        run_driver(body)


def test_a_state_is_restored_at_the_level_it_was_saved_at(run_driver):
    def body():
        saved = XSTATE_SAVE()
        KeSaveExtendedProcessorState(2, saved)
        KeRaiseIrql(DISPATCH_LEVEL)
        KeRestoreExtendedProcessorState(saved)

    with pytest.raises(ntsim.UnmodelledRoutine, match=PLACE):
        run_driver(body)


def test_only_instructions_are_taken_for_vex_encoded() -> None:
    """LDS's opcode in an immediate and in a displacement is no prefix."""
    from ntsim.hw.engine.lengths import vex_places

    code = bytes.fromhex("b8c5f85800 8b80c4e27918 c5f058d0 c3 cc62 62f17c4858c1")
    assert vex_places(code[:16]) == [11]
    assert vex_places(code[-6:]) == [0]
