"""driver/c/system.c: SMSW, LMSW, CLTS, LLDT, LTR, INS and OUTS in compiled code.

Source: SDM 2, the reference of each instruction.
"""

from pathlib import Path

SYSTEM = Path(__file__).parents[2] / "driver/c/system.sys"


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
