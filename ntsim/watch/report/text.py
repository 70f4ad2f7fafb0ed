"""A CrashReport as text: the sections of `!analyze -v`, then WHY and the line that replays it."""

from __future__ import annotations

from ntsim.watch.report import analysis
from ntsim.watch.report.model import CrashReport
from ntsim.watch.report.story import background, why


def render(report: CrashReport, replay: str) -> str:
    """The whole text, without a newline at its end."""
    sections = [
        analysis.banner(),
        analysis.head(report),
        *analysis.details(report),
        why(report),
        *background(report),
        f"REPLAY:  {replay}",
    ]
    return "\n\n".join(section for section in sections if section)
