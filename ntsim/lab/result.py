"""The result of a run as one JSON object: what `--json` prints, `ntsim replay` reads, CI keeps.

Addresses and codes are lower-case hexadecimal strings without padding. `outcome` is how the
simulated system ended; "interrupted" is a run that was cut short, by Ctrl-C, or by a mistake in
ntsim itself, and then `error.kind` is "internal".
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Outcome = Literal["completed", "bugcheck", "hang", "load_failed", "unmodelled", "interrupted"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class BugCheckResult(_Model):
    """The bug check that was raised."""

    code: str
    name: str
    parameters: tuple[str, str, str, str]


class ErrorResult(_Model):
    """What went wrong beside the simulated system's own doing, and where, if that is known.

    `kind`: load_failed, unmodelled, hang, python (an uncaught Python error in the driver), internal
    (a mistake in ntsim).
    """

    kind: str
    message: str
    file: str | None = None
    line: int | None = None


class FindingResult(_Model):
    """Something that Windows would not have noticed."""

    rule: str
    routine: str
    text: str


class AppResult(_Model):
    """One app; `exit_code` is null if it had not ended."""

    name: str
    exit_code: int | None
    stdout: str
    stderr: str


class RunResult(_Model):
    """One run. `stubs` are the values that routines were replaced by; left out where there are
    none."""

    schema_: Literal[1] = Field(1, alias="schema")
    ntsim: str
    outcome: Outcome
    expected: bool
    bugcheck: BugCheckResult | None
    error: ErrorResult | None
    findings: tuple[FindingResult, ...]
    debug_output: tuple[str, ...]
    apps: tuple[AppResult, ...]
    seed: int
    processors: int
    schedule: str
    stubs: dict[str, str] = Field(default_factory=dict)

    def to_json(self) -> str:
        """The object as indented JSON."""
        left_out = None if self.stubs else {"stubs"}
        return self.model_dump_json(by_alias=True, indent=2, exclude=left_out)

    def differences(self, other: RunResult) -> list[str]:
        """Names of the fields in which two runs differ; the version of ntsim is not compared."""
        names = [name for name in type(self).model_fields if name != "ntsim"]
        return [name for name in names if getattr(self, name) != getattr(other, name)]
