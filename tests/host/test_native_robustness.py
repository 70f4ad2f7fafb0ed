"""Damaged code ends in what Windows ends in, never in an error of ntsim's own; and the cookie."""

import contextlib
import random
import time
from pathlib import Path

import pytest

import ntsim
from ntsim.errors import BugCheck, UnmodelledInstruction
from ntsim.host.pe import PeFile
from ntsim.wdm import *

DRIVERS = Path(__file__).parents[2] / "driver/c"


def damaged(seed: int) -> tuple[str, bytes]:
    """A driver with some bytes changed: of its headers, its code, anything; or cut short."""
    numbers = random.Random(seed)
    name = numbers.choice(("echo", "jump", "privileged", "seh", "timer", "unwind"))
    data = bytearray((DRIVERS / f"{name}.sys").read_bytes())
    pe = PeFile(bytes(data))
    text = next(s for s in pe.sections if s.name == ".text")
    start = data.index(text.data)
    kind = seed % 5
    if kind == 0:
        for _ in range(numbers.randint(1, 12)):
            data[numbers.randrange(0x400)] = numbers.randrange(256)
    elif kind == 1:
        for _ in range(numbers.randint(1, 30)):
            data[start + numbers.randrange(len(text.data))] = numbers.randrange(256)
    elif kind == 2:
        place, size = start + numbers.randrange(len(text.data)), numbers.randint(1, 400)
        data[place : place + size] = numbers.randbytes(min(size, len(data) - place))
    elif kind == 3:
        for _ in range(numbers.randint(1, 40)):
            data[numbers.randrange(0x400, len(data))] ^= 1 << numbers.randrange(8)
    else:
        del data[numbers.randrange(len(data)) :]
    return name, bytes(data)


MOST_SECONDS = 30
"""Of the host's CPU for one damaged driver; hundreds of others took less than one each."""


@pytest.mark.parametrize("seed", [*range(40), 1005, 1229, 3584, 3585, 3619, 4417, 4597])
def test_a_damaged_driver_ends_as_on_windows_or_is_refused(ntsim_machine, tmp_path, seed) -> None:
    name, data = damaged(seed)
    file = tmp_path / f"{name}.sys"
    file.write_bytes(data)
    machine, began = ntsim_machine(processors=2), time.process_time()
    with contextlib.suppress(ntsim.Error):
        machine.unload_driver(machine.load_driver(file))
    assert time.process_time() - began < MOST_SECONDS


def test_unwind_data_that_leads_out_of_the_image_describes_no_frame(
    ntsim_machine, tmp_path
) -> None:
    data = bytearray((DRIVERS / "seh.sys").read_bytes())
    section = next(s for s in PeFile(bytes(data)).sections if s.name == ".pdata")
    start = data.index(section.data)
    for place in range(start + 8, start + section.size, 12):
        data[place + 2] = 0x7F
    file = tmp_path / "seh.sys"
    file.write_bytes(data)
    with pytest.raises(BugCheck) as caught:
        ntsim_machine().load_driver(file)
    assert caught.value.code == 0x7E  # no handler is found


def test_the_security_cookie_is_replaced(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.load_driver(DRIVERS / "cookie.sys")
    assert machine.debug_output == ["cookie: 0 bits above 48"]


def test_a_driver_with_the_linkers_cookie_would_stop(ntsim_machine, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ntsim.host.native_image.DEFAULT_COOKIE", 0)
    with pytest.raises(BugCheck) as caught:
        ntsim_machine().load_driver(DRIVERS / "cookie.sys")
    assert (caught.value.code, caught.value.parameters[0]) == (0x139, 6)


def test_control_flow_guard_refuses_a_user_address(ntsim_machine) -> None:
    machine = ntsim_machine()
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DRIVERS / "guard.sys")
    assert machine.debug_output == ["check replaced, dispatch replaced", "called: 42"]
    assert (caught.value.code, caught.value.parameters[0]) == (0x139, 0xA)
    names = [f"{f.image.module_name}!{f.symbol}" for f in machine.nt.bugcheck_state.stack]
    inner = names.index("nt!_guard_dispatch_icall")
    assert names[inner + 1].startswith("guard!")


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
        ("c5fc58c1", UnmodelledInstruction),  # vaddps ymm: ntsim's limit, not the driver's fault
        ("c5f058c2", UnmodelledInstruction),  # vaddps xmm, which the engine takes for addps
        ("62f17c4858c1", UnmodelledInstruction),  # vaddps zmm0, zmm0, zmm1
    ],
)
def test_a_thread_that_is_machine_code_and_nothing_else(ntsim_machine, code, end) -> None:
    machine = ntsim_machine(processors=2)
    with pytest.raises(ntsim.Error) as caught:
        run_code(machine, code)
    assert getattr(caught.value, "code", type(caught.value)) == end


def run_code(machine, code: str) -> None:
    """A system thread that executes `code`, until the machine is idle."""

    def entry(DriverObject, RegistryPath) -> int:
        pool = ExAllocatePoolWithTag(NonPagedPool, 64, 0x41414141)
        write_bytes(pool, bytes.fromhex(code))
        PsCreateSystemThread(0, NULL, NULL, NULL, pool, NULL)
        return STATUS_SUCCESS

    machine.load_driver(entry, name="code.sys")
    machine.run_until_idle()


AT_DISPATCH = "b802000000 440f22c0"  # mov eax, 2; mov cr8, rax
AT_HIGH = "b80f000000 440f22c0"
LOOPS = {"jmp $": "ebfe", "a spin": "f390ebfc", "a port": "e460ebfc"}


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("f1", STATUS_SINGLE_STEP, "INT1"),
        ("b802000000 cd2d", STATUS_BREAKPOINT, "INT 2Dh"),
        ("b902000000 4889e0 0f01c8", STATUS_PRIVILEGED_INSTRUCTION, "MONITOR"),
        ("31c9 31c0 0f01c8", STATUS_ACCESS_VIOLATION, "read of 0x0"),
        ("31c9 4889e0 0f01c8 b904000000 0f01c9", STATUS_PRIVILEGED_INSTRUCTION, "MWAIT"),
        ("31c9 4889e0 0f01c8 0f01c9 0f0b", STATUS_ILLEGAL_INSTRUCTION, "#UD"),
    ],
    ids=["INT1", "INT 2D", "MONITOR with extensions", "MONITOR of NULL", "MWAIT", "both, then UD2"],
)
def test_an_instruction_raises_what_the_processor_raises(
    ntsim_machine, code, status, words
) -> None:
    """SDM 2: MONITOR faults as a load does, and with ECX other than 0; MWAIT ends at once."""
    machine = ntsim_machine(processors=2)
    with pytest.raises(ntsim.BugCheck) as caught:
        run_code(machine, code)
    assert (caught.value.code, caught.value.parameters[0]) == (0x7E, status)
    assert words in machine.report().to_text().partition("WHY")[2]


@pytest.mark.parametrize("processors", [1, 4])
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("before", "alone", "beside_others"),
    [
        ("", ntsim.Hang, ntsim.Hang),
        (AT_DISPATCH, 0x133, 0x133),
        (AT_HIGH, ntsim.Hang, 0x101),  # no clock interrupt, and nobody to notice
        ("fa", ntsim.Hang, 0x101),
        (AT_DISPATCH + "fa", ntsim.Hang, 0x101),
    ],
    ids=["PASSIVE_LEVEL", "DISPATCH_LEVEL", "HIGH_LEVEL", "cli", "cli at DISPATCH_LEVEL"],
)
def test_an_endless_loop_ends_by_a_watchdog_on_the_virtual_clock(
    ntsim_machine, processors, loop, before, alone, beside_others
) -> None:
    machine = ntsim_machine(processors=processors)
    with pytest.raises(ntsim.Error) as caught:
        run_code(machine, before + LOOPS[loop])
    end = alone if processors == 1 else beside_others
    assert getattr(caught.value, "code", type(caught.value)) == end


def test_an_overrun_stack_is_walked_from_its_guard_page(ntsim_machine) -> None:
    """Below the last page RSP points to no memory; what the frames saved lies above."""
    machine = ntsim_machine(processors=1)
    with pytest.raises(ntsim.BugCheck) as caught:
        machine.load_driver(DRIVERS / "overrun.sys")
    assert (caught.value.code, caught.value.parameters[0]) == (0x7F, 8)
    stack_pointer, rip = caught.value.parameters[2:]
    assert machine.nt.mmu.probe(stack_pointer) is None
    report = machine.report()
    assert report.registers.values["rip"] == rip
    assert report.registers.values["rsp"] == stack_pointer
    frames = [line for line in report.to_text().splitlines() if " : overrun!sub_" in line]
    assert len(frames) > 10
    assert frames[0].startswith(f"{stack_pointer:017x}"[1:9])
    assert report.image_name == "overrun.sys"
