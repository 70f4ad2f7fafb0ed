"""A schedule as text: `1.random.7.4` or `1.rr.0.2.19@1x40,…`.

Version, strategy, seed, processors, then the departures from what that strategy would have chosen:
choice number @ processor x quantum. Without departures the strategy itself is the schedule. Version
1 means these strategies and SplitMix64; it changes when one of them does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ntsim.errors import ScheduleError
from ntsim.hw.interleave import Strategy
from ntsim.hw.strategy.round_robin import RoundRobin
from ntsim.hw.strategy.seeded import SeededRandom

VERSION = 1
NAMES = ("rr", "random")
_PATTERN = re.compile(r"(\d+)\.([a-z]+)\.(\d+)\.(\d+)(?:\.(\d+@\d+x\d+(?:,\d+@\d+x\d+)*))?")


@dataclass(slots=True)
class Schedule:
    """The parsed string."""

    strategy: str
    seed: int
    processors: int
    departures: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{VERSION}.{self.strategy}.{self.seed}.{self.processors}"
        if self.departures:
            text += "." + ",".join(f"{i}@{n}x{q}" for i, (n, q) in sorted(self.departures.items()))
        return text


def parse(text: str) -> Schedule:
    """The schedule a string stands for; ScheduleError says what is wrong with it."""
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ScheduleError(
            f"schedule {text!r} is malformed: expected version.strategy.seed.processors, for "
            f"example '{VERSION}.random.7.4'"
        )
    version, name, seed, processors, departures = match.groups()
    if int(version) != VERSION:
        raise ScheduleError(
            f"schedule {text!r} has version {version}, this ntsim replays version {VERSION}: "
            "install the ntsim that recorded it"
        )
    if name not in NAMES:
        raise ScheduleError(
            f"schedule {text!r}: unknown strategy {name!r}, use {' or '.join(NAMES)}"
        )
    if not 1 <= int(processors) <= 64:
        raise ScheduleError(f"schedule {text!r}: processors must be 1 to 64")
    made = Schedule(name, int(seed), int(processors))
    for item in (departures or "").split(","):
        if item:
            index, number, quantum = map(int, re.split("[@x]", item))
            if number >= made.processors or quantum < 1:
                raise ScheduleError(f"schedule {text!r}: no such turn as {item!r}")
            made.departures[index] = (number, quantum)
    return made


def make_strategy(name: str, seed: int) -> Strategy:
    """A fresh strategy by name."""
    return RoundRobin() if name == "rr" else SeededRandom(seed)


class Replay:
    """Follows a schedule; complains when the run is no longer the recorded one."""

    def __init__(self, schedule: Schedule) -> None:
        self.base = make_strategy(schedule.strategy, schedule.seed)
        self.departures = schedule.departures
        self.count = 0

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        choice = self.base.choose(runnable)
        departure = self.departures.get(self.count)
        self.count += 1
        if departure is None:
            return choice
        if departure[0] not in runnable:
            raise ScheduleError(
                f"choice {self.count - 1}: the schedule runs processor {departure[0]}, which has "
                f"nothing to do here (runnable: {', '.join(map(str, runnable))}): the driver, the "
                "app or ntsim changed since it was recorded"
            )
        return departure
