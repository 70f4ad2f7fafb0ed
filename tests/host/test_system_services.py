"""driver/c/services.c: apps get what a driver makes of KiServiceTable and of services' bodies.

Source: Windows Internals 7, part 2, ch. 8 (KiSystemCall64 calls what the table's entry leads to).
"""

from pathlib import Path

import pytest

from ntsim.win32 import *

SERVICES = Path(__file__).parents[2] / "driver/c/services.sys"
LONG, TICK = 50, 16  # ms


def open_nothing() -> int:
    with pytest.raises(error) as caught:
        CreateFile(r"\\.\Nothing", GENERIC_READ, 0, None, OPEN_EXISTING, 0, None)
    return int(caught.value.winerror)


@pytest.mark.parametrize(("processors", "seed"), [(1, 0), (1, 3), (4, 0), (4, 3)])
def test_apps_and_zw_routines_meet_hooks_of_system_services(
    ntsim_machine, processors, seed
) -> None:
    codes, slept = [], []

    def app() -> None:
        codes.extend(open_nothing() for _ in range(3))
        for _ in range(3):
            before = GetTickCount64()
            Sleep(LONG)
            slept.append(GetTickCount64() - before)

    machine = ntsim_machine(processors=processors, seed=seed)
    driver = machine.load_driver(SERVICES)
    assert machine.debug_output == ["from the kernel: c0000034"]
    machine.run(app)
    assert codes == [2, 2, 2], "the trampoline led to the service"
    assert slept[1] <= TICK < LONG - TICK <= min(slept[0], slept[2]), "the hook refused the second"
    machine.unload_driver(driver)
    machine.run(app)
    assert codes == [2] * 6
    assert min(slept[3:]) >= LONG - TICK, "no hook is left"
    assert machine.debug_output[1:] == ["kernel 1, user 3, delays 3"]
