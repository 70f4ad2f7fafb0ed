"""System instructions in compiled code: driver/c/system.c and nonroot.c.

Source: SDM 2, the reference of each instruction; for what a guest's do, SDM 3, "VM Functions",
"Instructions That Cause VM Exits Conditionally".
"""

from pathlib import Path

import pytest

from ntsim.errors import BugCheck

SYSTEM = Path(__file__).parents[2] / "driver/c/system.sys"
NONROOT = SYSTEM.with_name("nonroot.sys")


class Recorder:
    """A device that answers with ones and keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int, int]] = []

    def port_in(self, port: int, size: int) -> int:
        return 0xFFFF_FFFF

    def port_out(self, port: int, size: int, value: int) -> None:
        self.written.append((port, size, value))


def test_system_instructions_do_what_the_processor_does(ntsim_machine) -> None:
    machine = ntsim_machine()
    device = Recorder()
    machine.nt.processors[0].ports.attach(device, 0x5000, 1)
    machine.load_driver(SYSTEM)
    assert machine.debug_output == [
        "SMSW agrees, upper bits stay",
        "LMSW: TS 1 PE 1; CLTS: TS 0; the rest stays",
        "TR 40, type b",
        "LTR: 40, type b",
        "LLDT: 0",
        "INS: ff ff 6, 5 bytes, count 0",
        "OUTS backwards: 3 bytes, count 0",
        "none: 5 bytes",
        "one: ff 9",
    ]
    assert device.written == [(0x5000, 1, 9)] * 3


@pytest.mark.parametrize(("processors", "seed"), [(1, 0), (4, 3)])
def test_instructions_that_a_hypervisor_may_want_to_see(ntsim_machine, processors, seed) -> None:
    machine = ntsim_machine(processors=processors, seed=seed)
    machine.load_driver(NONROOT)
    illegal, privileged = "c000001d", "c0000096"
    lines = machine.debug_output
    assert lines[:5] == [
        "DR0 fffff80012345678, DR3 ffffffffffffffff, DR6 ffff0ff0",
        "DR7 400; was 400",
        f"DR4 with CR4.DE: {illegal}",
        f"DR6 above 32 bits: {privileged}",
        f"DR7 above 32 bits: {privileged}",
    ]
    assert lines[5:14] == [
        *(f"INVPCID {kind}: 0" for kind in range(4)),
        f"INVPCID 4: {privileged}",
        f"INVPCID, reserved: {privileged}",
        f"INVPCID of a PCID: {privileged}",
        f"INVPCID, not canonical: {privileged}",
        "INVPCID of one context, any address: 0",
    ]
    assert lines[14:16] == [f"VMFUNC: {illegal}", f"VMREAD: {illegal}"]
    assert lines[16:18] == [
        "EPT switched: A B A, 0 exits",
        "shadow VMCS: read 0 1234, write 0 5678, read-only 0, 0 exits, left 5678",
    ]
    # VMREAD and VMWRITE that the bitmaps name, VMFUNC of no entry and of no function, MOV DR
    exits = ["23", "25", "59", "59", "29: DR3, written", "29: DR0, read", "58"]
    assert lines[18:] == [f"exit {each}" for each in exits]
    assert {processor.vmx.mode_name for processor in machine.nt.processors} == {"off"}
    assert not any(processor.dr[n] for processor in machine.nt.processors for n in range(4))


def test_invpcid_is_undefined_on_a_processor_that_has_none(ntsim_machine) -> None:
    machine = ntsim_machine(cpu="xeon-w3670")
    with pytest.raises(BugCheck):  # VMFUNC in a guest, which this one has not got either
        machine.load_driver(NONROOT)
    assert [line.split(": ")[1] for line in machine.debug_output[5:14]] == ["c000001d"] * 9
