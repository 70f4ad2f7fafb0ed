"""How a run should end. An expectation is read after the run and never influences it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ntsim.abi.bugcodes import name_of
from ntsim.lab.facts import Facts

Check = Callable[[Facts], bool]
"""One thing that should hold; its name, read as words, says what."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A bug check with this code, or, without one, that every app exits 0 and nothing is found.

    `hangs`: instead, that the run never ends by itself.
    `checks` come on top; they are asked only of a run that ended in the right way.
    """

    code: int | None = None
    checks: tuple[Check, ...] = ()
    hangs: bool = False

    def __str__(self) -> str:
        if self.hangs:
            return "hang"
        if self.code is None:
            return "completed"
        return f"bug check {self.code:#x}, {name_of(self.code)}"

    def verdicts(self, outcome: str, facts: Facts) -> Iterator[tuple[bool, str]]:
        """(whether it holds, what should hold), the way the run ended first."""
        ended = self._ended_right(outcome, facts)
        yield ended, sentence(self._ending())
        for check in self.checks:
            yield ended and check(facts), in_words(check)

    def _ending(self) -> str:
        if self.hangs:
            return "the run hangs"
        if self.code is None:
            return "the run completes: every app exits with 0, and there are no findings"
        return str(self)

    def _ended_right(self, outcome: str, facts: Facts) -> bool:
        if self.hangs:
            return outcome == "hang"
        if self.code is not None:
            return outcome == "bugcheck" and facts.crash.code == self.code
        codes = [process.exit_code for process in facts.machine.processes]
        return outcome == "completed" and not any(codes) and not facts.machine.findings


COMPLETED = Expectation()


def in_words(check: Check) -> str:
    """The first line of the check's docstring, else its name."""
    return sentence((check.__doc__ or check.__name__.replace("_", " ")).partition("\n")[0])


def sentence(text: str) -> str:
    """A capital first, no full stop."""
    return text[:1].upper() + text[1:].rstrip(".")
