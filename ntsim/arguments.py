"""What the callers of Machine may pass, and what it means.

Each function takes an argument as it was given and returns what the machine needs, or raises
ConfigurationError or ScheduleError with a message that says what would do.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ntsim.errors import ConfigurationError, ScheduleError
from ntsim.hw.cpu_model import CpuModel, lookup
from ntsim.hw.strategy import schedule as schedules

if TYPE_CHECKING:
    from ntsim.nt.vf.options import Settings


class _Default(int):
    """An argument that was not given: a schedule then brings its own."""


PROCESSORS, SEED = _Default(4), _Default(0)


def target_of(target: Any) -> Any:
    """A path for a module or a path, the object itself for a callable."""
    if isinstance(target, ModuleType):
        file = target.__file__
        if file is None:
            raise ConfigurationError(f"module {target.__name__} has no file")
        return Path(file)
    if isinstance(target, (str, Path)):
        path = Path(target)
        if not path.exists():
            raise ConfigurationError(f"{path}: no such file")
        if path.is_dir():
            raise ConfigurationError(f"{path} is a folder: name the .py file in it")
        return path
    if callable(target):
        return target
    raise ConfigurationError(f"{target!r} is neither a path nor callable")


def image_name_of(name: str | None) -> str | None:
    """A driver's file name: `hello` is hello.sys. ConfigurationError if it cannot be one."""
    if name is None:
        return None
    if not isinstance(name, str) or not name.split(".")[0] or set(name) & set('\\/:*?"<>|'):
        raise ConfigurationError(f"name={name!r}: a driver is named like a file, as in hello.sys")
    return name if "." in name else f"{name}.sys"


def schedule_of(
    processors: int, seed: int, strategy: str | None, schedule: str | None
) -> schedules.Schedule:
    """The schedule that a machine follows: a recorded one, or that of a strategy."""
    for label, value in (("processors", processors), ("seed", seed)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigurationError(f"{label}={value!r}: an integer is needed")
    if not 1 <= processors <= 64:
        raise ConfigurationError(f"processors={processors}: a machine has 1 to 64")
    if seed < 0:
        raise ConfigurationError(f"seed={seed}: seeds are 0 and up")
    if schedule is not None:
        return _replayed(schedule, processors, seed, strategy)
    name = strategy or ("rr" if seed == 0 else "random")
    if name not in schedules.NAMES:
        names = " or ".join(repr(n) for n in schedules.NAMES)
        raise ConfigurationError(f"strategy={strategy!r}: use {names}")
    return schedules.Schedule(name, int(seed), int(processors))


def _replayed(text: str, processors: int, seed: int, strategy: str | None) -> schedules.Schedule:
    """The schedule's own settings; arguments given beside it must agree."""
    if not isinstance(text, str):
        raise ScheduleError(f"schedule={text!r}: a string is needed, as Machine.schedule gives it")
    plan = schedules.parse(text)
    if processors is not PROCESSORS and processors != plan.processors:
        raise ScheduleError(
            f"schedule {text!r} was recorded with {plan.processors} processors, this machine has "
            f"{processors}: use --processors {plan.processors}"
        )
    if seed is not SEED and seed != plan.seed:
        raise ScheduleError(
            f"schedule {text!r} was recorded with seed {plan.seed}, not {seed}: leave the seed out"
        )
    if strategy not in (None, plan.strategy):
        raise ScheduleError(
            f"schedule {text!r} was recorded with strategy {plan.strategy!r}, not {strategy!r}"
        )
    return plan


def cpu_model(cpu: Any) -> CpuModel:
    """The model that `cpu` names or is."""
    if isinstance(cpu, CpuModel):
        return cpu
    if isinstance(cpu, str):
        return lookup(cpu)
    raise ConfigurationError(f"cpu={cpu!r}: a model's name or an ntsim.CpuModel is needed")


def verifier_settings(verifier: Any) -> Settings:
    """Driver Verifier's settings; ConfigurationError lists the names there are."""
    from ntsim.nt.vf.options import parse

    return parse(verifier)


def check_memory(memory_mb: int, processors: int) -> None:
    """Enough RAM to boot, no more than the memory map has room for."""
    least = 16 + processors // 2
    if not isinstance(memory_mb, int) or not least <= memory_mb <= 65536:
        raise ConfigurationError(
            f"memory_mb={memory_mb!r}: {least} to 65536 MB with {processors} processors"
        )
