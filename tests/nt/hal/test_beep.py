"""HalMakeBeep. Source: ReactOS hal/halx86/generic/beep.c; Intel 8254."""

import pytest

from ntsim.wdm import HalMakeBeep


class Speaker:
    """Ports of the timer's channel 2 and of the speaker's gate; what was written to them."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int]] = []
        self.gate = 0x30

    def port_in(self, port: int, size: int) -> int:
        return self.gate

    def port_out(self, port: int, size: int, value: int) -> None:
        self.written.append((port, value))


@pytest.mark.parametrize(
    ("frequency", "answer", "written"),
    [
        (1000, 1, [(0x61, 0x30), (0x43, 0xB6), (0x42, 0xA9), (0x42, 0x04), (0x61, 0x33)]),
        (0, 1, [(0x61, 0x30)]),
        (18, 0, [(0x61, 0x30)]),
        (2_000_000, 0, [(0x61, 0x30)]),
    ],
)
def test_a_tone_is_programmed_into_the_timer(ntsim_machine, frequency, answer, written) -> None:
    machine, speaker, answers = ntsim_machine(), Speaker(), []
    ports = machine.nt.processors[0].ports
    ports.attach(speaker, 0x42, 2)
    ports.attach(speaker, 0x61, 1)

    def DriverEntry(DriverObject, RegistryPath):
        answers.append(HalMakeBeep(frequency))
        return 0

    machine.load_driver(DriverEntry, name="beep.sys")
    assert (answers, speaker.written) == ([answer], written)
