"""Findings: what is wrong with a driver and makes no difference on Windows, or not yet.

A finding is kept once, however often it happens, in the order of first occurrence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.nt.events import FindingReported

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@dataclass(slots=True, frozen=True)
class Finding:
    """`rule` names what was broken, `routine` the routine called, `text` says what and why."""

    rule: str
    routine: str
    text: str


def report_finding(nt: Kernel, rule: str, routine: str, text: str) -> None:
    """Keep a finding of the running code."""
    made = Finding(rule, routine, text)
    if made not in nt.findings:
        nt.findings.append(made)
        nt.emit_at(FindingReported, rule, f"{routine}: {text}")
