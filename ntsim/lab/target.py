"""What is run: drivers, apps and the settings they need, from paths or from a scenario."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ntsim.errors import ConfigurationError, DriverLoadError
from ntsim.lab.expectation import COMPLETED, Expectation
from ntsim.lab.hardware import DeviceSetup, parse_setup
from ntsim.nt.cm.registry import Content

RegistryValues = Mapping[tuple[str, str], Content | None]
"""(key, value name) to its content; None: the value is not there."""


@dataclass(frozen=True, slots=True)
class Target:
    """`drivers` are loaded in order and `devices` plugged in for the last of them, then all `apps`
    started; with `sleep` the system then sleeps and wakes; `unload` removes and stops it all.

    `processors`, `seed`, `verifier` and the apps' `arguments` are what a run has that does not say
    otherwise. `command` is how the command line names the target, word by word.
    """

    drivers: tuple[Path, ...]
    apps: tuple[Path, ...] = ()
    registry: RegistryValues = field(default_factory=dict)
    devices: tuple[DeviceSetup, ...] = ()
    sleep: bool = False
    unload: bool = False
    processors: int = 4
    seed: int = 0
    verifier: str | None = None
    arguments: tuple[str, ...] = ()
    expected: Expectation = COMPLETED
    command: tuple[str, ...] = ()


def is_path(text: str) -> bool:
    """Whether a target names a file (else a scenario)."""
    return "/" in text or "\\" in text or text.lower().endswith((".py", ".sys"))


def from_paths(driver: str, apps: Sequence[str] = (), plugged: Sequence[str] = ()) -> Target:
    """A driver of one's own, its apps and devices. ConfigurationError: an unusable file, or a
    device that cannot be read."""
    devices = tuple(parse_setup(text) for text in plugged)
    options = [word for app in apps for word in ("--app", app)]
    options += [word for text in plugged for word in ("--plug", text)]
    drivers = (usable_driver(driver),)
    paths = tuple(usable_source(app, "app") for app in apps)
    return Target(drivers, paths, devices=devices, command=(driver, *options))


def usable_driver(text: str) -> Path:
    """The path of a driver: a Python file, or a compiled one, which the loader looks at."""
    path = Path(text)
    if path.suffix.lower() != ".sys" or not path.is_file():
        return usable_source(text, "driver")
    from ntsim.host.native_image import read_file

    try:
        read_file(path)
    except DriverLoadError as error:
        raise ConfigurationError(error.message) from None
    return path


def usable_source(text: str, kind: str) -> Path:
    """The path of a Python file that exists and parses; ConfigurationError says what is wrong."""
    path = Path(text)
    if path.is_dir():
        files = ", ".join(file.name for file in sorted(path.glob("*.py"))[:8])
        raise ConfigurationError(f"{path} is a folder: name the {kind} in it ({files or 'none'})")
    if not path.exists():
        raise ConfigurationError(f"{path}: no such file")
    if path.suffix.lower() != ".py":
        raise ConfigurationError(f"{path}: the {kind} is not a Python file (.py)")
    try:
        ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        raise ConfigurationError(f"{path}:{error.lineno or 1}: {error.msg}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}:1: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    return path
