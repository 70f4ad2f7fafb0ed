"""Damaged code ends in what Windows ends in, never in an error of ntsim's own; and the cookie."""

import contextlib
import random
from pathlib import Path

import pytest

import ntsim
from ntsim.errors import BugCheck
from ntsim.host.pe import PeFile
from ntsim.wdm import *

DRIVERS = Path(__file__).parents[2] / "driver/c"


@pytest.mark.parametrize("name", ["privileged", "timer", "seh", "echo"])
@pytest.mark.parametrize("seed", range(6))
def test_damaged_code_ends_as_a_driver_does(ntsim_machine, tmp_path, name, seed) -> None:
    data = bytearray((DRIVERS / f"{name}.sys").read_bytes())
    text = next(s for s in PeFile(bytes(data)).sections if s.name == ".text")
    start, numbers = data.index(text.data), random.Random(seed)
    for _ in range(numbers.randint(1, 8)):
        data[start + numbers.randrange(text.size)] = numbers.randrange(256)
    file = tmp_path / f"{name}.sys"
    file.write_bytes(data)
    with contextlib.suppress(ntsim.Error):
        ntsim_machine(processors=2).load_driver(file)


def test_the_security_cookie_is_replaced(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.load_driver(DRIVERS / "cookie.sys")
    assert machine.debug_output == ["cookie: 0 bits above 48"]


def test_a_driver_with_the_linkers_cookie_would_stop(ntsim_machine, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ntsim.host.native_image.DEFAULT_COOKIE", 0)
    with pytest.raises(BugCheck) as caught:
        ntsim_machine().load_driver(DRIVERS / "cookie.sys")
    assert (caught.value.code, caught.value.parameters[0]) == (0x139, 6)


def test_two_machines_run_compiled_drivers_side_by_side(ntsim_machine) -> None:
    first, second = ntsim_machine(), ntsim_machine(seed=3)
    loaded = [machine.load_driver(DRIVERS / "hello.sys") for machine in (first, second)]
    for machine, driver in zip((second, first), reversed(loaded), strict=True):
        machine.unload_driver(driver)
    assert first.debug_output == second.debug_output
    assert first.debug_output[-1] == "bye"


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("ebfe", ntsim.Hang),  # jmp $
        ("faebfe", 0x101),  # cli; jmp $
        ("cc", 0x7E),  # int3
        ("0f0b", 0x7E),  # ud2
        ("c5fc58c1", ntsim.UnmodelledRoutine),  # vaddps ymm: ntsim's limit, not the driver's fault
        ("62f17c4858c1", ntsim.UnmodelledRoutine),  # vaddps zmm0, zmm0, zmm1
    ],
)
def test_a_thread_that_is_machine_code_and_nothing_else(ntsim_machine, code, end) -> None:
    def entry(DriverObject, RegistryPath) -> int:
        pool = ExAllocatePoolWithTag(NonPagedPool, 64, 0x41414141)
        write_bytes(pool, bytes.fromhex(code))
        PsCreateSystemThread(0, NULL, NULL, NULL, pool, NULL)
        return STATUS_SUCCESS

    machine = ntsim_machine(processors=2)

    def run() -> None:
        machine.load_driver(entry, name="code.sys")
        machine.run_until_idle()

    with pytest.raises(ntsim.Error) as caught:
        run()
    assert getattr(caught.value, "code", type(caught.value)) == end
