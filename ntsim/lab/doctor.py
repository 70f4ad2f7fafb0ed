"""Does ntsim work on this computer? Each check says what it found; none raises."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version

from ntsim.abi import x86_constants
from ntsim.hw import silicon


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. `ok` None: it is absent, and ntsim does without."""

    name: str
    ok: bool | None
    detail: str = ""


def host() -> Iterator[Finding]:
    """The computer and the libraries."""
    found = f"{platform.python_implementation()} {platform.python_version()}"
    yield Finding("Python 3.11 or newer", sys.version_info >= (3, 11), found)
    bits = sys.maxsize.bit_length() + 1
    yield Finding(
        "64-bit and little-endian",
        bits == 64 and sys.byteorder == "little",
        f"{platform.system()} on {platform.machine()}",
    )
    yield attempt("greenlet switches", _greenlet_switches)
    yield attempt("capstone disassembles", _capstone_disassembles)
    yield attempt("pydantic, click, rich", _edge_libraries)
    yield attempt("RAM has a second mapping (memfd)", _frames_line_up)
    yield attempt("the sample drivers are there", _samples)
    yield attempt("a machine boots", _machine_boots)


def engine() -> Iterator[Finding]:
    """The engine that runs guests: its self-test."""
    try:
        from ntsim.hw.engine.hostcode import store_and_stop
        from ntsim.hw.engine.selftest import selftest

        fast = store_and_stop() is not None
        yield Finding("unicorn is installed", True, version("unicorn"))
        yield Finding("exits are caught by host code", True if fast else None)
        checks = selftest()
    except Exception as error:
        yield Finding("the engine starts", False, f"{type(error).__name__}: {error}")
        return
    for check in checks:
        yield Finding(check.name, check.ok, "" if check.ok else check.detail)


def cpu_mask(name: str = silicon.DEFAULT.name) -> dict[str, list[str]]:
    """Register to what a processor model lacks there and why; registers with the same together."""
    names = {value: name for name, value in vars(x86_constants).items() if name[:4] == "IA32"}
    found = silicon.silicon_of(name)
    together: dict[tuple[str, ...], list[str]] = {}
    for register in found.registers():
        reasons = tuple(mask.reason for mask in found.masks(register))
        if reasons:
            label = register if isinstance(register, str) else names[register]
            together.setdefault(reasons, []).append(label)
    return {", ".join(labels): list(reasons) for reasons, labels in together.items()}


def attempt(name: str, work: Callable[[], Finding | str]) -> Finding:
    """The finding of `work`; text is the detail of a success, an exception a failure."""
    try:
        found = work()
    except Exception as error:
        return Finding(name, False, f"{type(error).__name__}: {error}")
    return found if isinstance(found, Finding) else Finding(name, True, found)


def _greenlet_switches() -> str:
    from greenlet import greenlet

    assert greenlet(lambda value: value + 1).switch(41) == 42
    return version("greenlet")


def _capstone_disassembles() -> str:
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    assert next(decoder.disasm(b"\x0f\x01\xc2", 0)).mnemonic == "vmlaunch"
    return version("capstone")


def _edge_libraries() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("pydantic", "click", "rich"))


def _frames_line_up() -> Finding | str:
    from ntsim.hw.ram import PAGE_SIZE, AliasWindow, Ram

    ram = Ram(4 * PAGE_SIZE)
    if not ram.can_alias:
        text = "none: large pool blocks lie in consecutive page frames"
        return Finding("RAM has a second mapping (memfd)", None, text)
    window = AliasWindow(ram, 2 * PAGE_SIZE)
    window.map(0, [2 * PAGE_SIZE, 0])
    ram.write(2 * PAGE_SIZE + 8, b"two")
    window.bytes[PAGE_SIZE + 16] = 7
    assert bytes(window.bytes[8:11]) == b"two" and ram.read(16, 1) == b"\x07"
    return "scattered page frames line up"


def _samples() -> str:
    from ntsim.lab.samples import samples_root

    return str(samples_root())


def _machine_boots() -> str:
    from ntsim.machine import Machine

    with Machine(processors=2) as machine:
        machine.run_until_idle()
        return f"2 processors, {machine.nt.cm.root.name.lower()} and all"
