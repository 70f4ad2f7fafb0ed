"""Findings: what ntsim noticed that Windows would have let pass. They stop nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.nt.events import FindingReported

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@dataclass(frozen=True, slots=True)
class Finding:
    """`rule` names the kind of mistake, `routine` who made it, `text` says it in a sentence."""

    rule: str
    routine: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


def vf_report(nt: Kernel, rule: str, routine: str, text: str) -> None:
    """Record a finding and go on."""
    nt.findings.append(Finding(rule, routine, text))
    nt.emit_at(FindingReported, rule, text)
