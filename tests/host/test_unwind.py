"""Unwinding: driver/c/unwind.c by hand and by language handlers, and frames left in an epilogue.

What is expected is what the same C prints on Windows. Source: Microsoft, x64 exception handling;
WDK RtlCaptureContext, RtlVirtualUnwind, RtlUnwindEx, RtlRestoreContext.
"""

from pathlib import Path

import pytest

from ntsim.abi.ke import KTRAP_FRAME
from ntsim.errors import BugCheck, DriverLoadError
from ntsim.host.debug_information import DebugInformation
from ntsim.host.native_image import NativeImage
from ntsim.host.pe import PeFile
from ntsim.host.unwind import RSP, WORDS, unwind
from ntsim.nt.mm.images import Image

UNWIND = Path(__file__).parents[2] / "driver/c/unwind.sys"
BASE = 0xFFFF_F800_1000_0000

BLOCKS = {
    "image": ["header: right, none"],
    "a language handler of the image's own": [
        "language handler: search, frame right, data right",
        "guarded filter: 80000011",
        "language handler: unwind, frame right, data right",
        "guarded finally: 1",
        "guarded: 8000001100000077",
    ],
    "RtlVirtualUnwind": [
        "walk: 3 frames of Walk, then the kernel",
        "walked from depth 1",
        "walked from depth 2",
    ],
    "RtlRestoreContext": ["restored: 2 times"],
    "RtlUnwindEx": ["unwound by hand: 1", "unwound by hand: 2", "landed: 1239"],
    "an exception in a filter": [
        "bad filter: c0000005",
        "bad filter: c000000d",
        "nested: c000000d",
    ],
    "an exception in a termination handler": [
        "colliding",
        "once",
        "collided, inner: c000003e",
    ],
    "RtlRaiseException": [
        "forgive: e0001234, 2, 63",
        "went on behind RtlRaiseException",
        "forgive: e0001234, 2, 63",
        "forgive: c0000025, 0, 0",
        "noncontinuable: c0000025",
    ],
    "vector registers": ["vector register: 3"],
}


@pytest.mark.parametrize("seed", [0, 5])
def test_frames_are_unwound_as_windows_unwinds_them(ntsim_machine, seed) -> None:
    machine = ntsim_machine(seed=seed)
    machine.load_driver(UNWIND)
    assert machine.debug_output == [line for block in BLOCKS.values() for line in block]


def test_a_filter_that_always_faults_uses_up_the_stack(ntsim_machine) -> None:
    machine = ntsim_machine()
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(UNWIND.with_name("nested.sys"))
    assert (caught.value.code, caught.value.parameters[0]) == (0x7F, 8)
    _, frame, stack, place = caught.value.parameters
    trap = KTRAP_FRAME.at(machine.nt.mmu, frame)
    assert (trap.Rip, trap.Rsp) == (place, stack)
    assert machine.nt.describe_address(place).startswith("nested!")
    threads = machine.nt.ke.threads.values()
    limits = {each.text: each.stack_limit for each in threads}
    limit = limits[machine.nt.bugcheck_state.thread]
    assert limit - 0x1000 <= stack < limit
    assert not machine.debug_output


@pytest.mark.parametrize("executed", [0, 1, 2])
def test_a_frame_in_its_epilogue_is_unwound_by_what_is_left_of_it(executed) -> None:
    """`add rsp, 20h; pop rbx; ret` of Guarded, after some of its instructions."""
    pe = PeFile(UNWIND.read_bytes())
    image = Image("unwind.sys", BASE, len(pe.memory), BASE + len(pe.memory), BASE + len(pe.memory))
    debug, begins = DebugInformation(UNWIND, pe), [f.begin for f in pe.functions]
    native = NativeImage(image, pe, BASE + pe.entry, debug, begins)
    place = bytes(pe.memory).index(bytes.fromhex("90 4883c420 5b c3")) + 1
    stack = 0x1_0000
    memory = {stack + 0x20: 0x1111_2222, stack + 0x28: 0x3333_4444}
    registers = [0] * WORDS
    registers[RSP] = stack + (0, 0x20, 0x28)[executed]
    registers[3] = 0x1111_2222 if executed == 2 else 0
    frame = unwind(native, BASE + place + (0, 4, 5)[executed], registers, memory.__getitem__)
    assert frame.rip == 0x3333_4444
    assert frame.registers[RSP] == stack + 0x30
    assert frame.registers[3] == 0x1111_2222
    assert not frame.handler, "code in an epilogue is covered by no handler"


def test_unwind_information_of_version_3_is_refused_by_name(ntsim_machine, tmp_path) -> None:
    data, pe = bytearray(UNWIND.read_bytes()), PeFile(UNWIND.read_bytes())
    place = pe.functions[1].unwind
    at = bytes(data).index(bytes(pe.memory[place : place + 12]))
    data[at] = data[at] & ~7 | 3
    driver = tmp_path / "newer.sys"
    driver.write_bytes(data)
    with pytest.raises(DriverLoadError, match="version 3, which is not modelled"):
        ntsim_machine().load_driver(driver)
