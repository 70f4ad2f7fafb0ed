"""What a scenario is: a story about a driver, and the data that runs it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ntsim.errors import ConfigurationError
from ntsim.lab.expectation import COMPLETED, Expectation
from ntsim.lab.hardware import DeviceSetup
from ntsim.lab.samples import samples_root
from ntsim.lab.target import Target
from ntsim.nt.cm.registry import Content


class Case(BaseModel):
    """One way to run a scenario. `drivers` and `apps` are paths below the samples' folder.

    `registry` maps (key, value name) to content, None for a value that is to be absent. `devices`
    are plugged in for the last driver; with `sleep` the system sleeps and wakes when the apps have
    ended; `unload` then removes the devices and stops the drivers. `verifier` are the settings of
    Driver Verifier, None for a machine without it. `arguments` are the apps'.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    drivers: tuple[str, ...]
    apps: tuple[str, ...] = ()
    registry: dict[tuple[str, str], Content | None] = {}
    processors: int = Field(default=4, ge=1, le=64)
    seed: int = Field(default=0, ge=0)
    verifier: str | None = None
    arguments: tuple[str, ...] = ()
    devices: tuple[DeviceSetup, ...] = ()
    sleep: bool = False
    unload: bool = False
    expected: Expectation = COMPLETED
    ends: str
    """How it ends, in a line."""


class Scenario(BaseModel):
    """`case` shows what the story is about; `fixed`, where there is one, the same put right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    summary: str
    story: str
    look_at: str
    source: str
    case: Case
    fixed: Case | None = None

    def target(self, fixed: bool = False) -> Target:
        """What to run; ConfigurationError if there is no fixed variant."""
        if fixed and self.fixed is None:
            raise ConfigurationError(f"scenario {self.name} has no fixed variant")
        case = self.fixed if fixed and self.fixed is not None else self.case
        return Target(
            drivers=_below_samples(case.drivers),
            apps=_below_samples(case.apps),
            registry=case.registry,
            devices=case.devices,
            sleep=case.sleep,
            unload=case.unload,
            processors=case.processors,
            seed=case.seed,
            verifier=case.verifier,
            arguments=case.arguments,
            expected=case.expected,
            command=(self.name, "--fixed") if fixed else (self.name,),
        )


def _below_samples(paths: tuple[str, ...]) -> tuple[Path, ...]:
    root = samples_root()
    return tuple(root / path for path in paths)
