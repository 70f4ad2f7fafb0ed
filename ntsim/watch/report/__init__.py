"""The crash report: everything known about a bug check as data, and as `!analyze -v` text.

`build` collects it from the frozen machine, `model` says what it holds, `text` prints it. pydantic
is imported here and nowhere below, so a machine that does not crash never loads it.
"""

from ntsim.watch.report.build import crash_report
from ntsim.watch.report.model import CrashReport

__all__ = ["CrashReport", "crash_report"]
