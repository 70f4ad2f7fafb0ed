"""Checks that many scenarios make of a bug check, each worded by what it is given."""

from __future__ import annotations

from ntsim.lab.expectation import Check
from ntsim.lab.facts import Facts


def parameter(number: int, value: int, meaning: str) -> Check:
    """Parameter `number`, 1 to 4, is `value`."""

    def check(facts: Facts) -> bool:
        return facts.parameters[number - 1] == value

    return worded(check, f"Parameter {number} is {value:#x}, {meaning}")


def parameter_is_pool(number: int, meaning: str) -> Check:
    """Parameter `number` is an address in one of the pools, special pool included."""

    def check(facts: Facts) -> bool:
        nt, address = facts.machine.nt, facts.parameters[number - 1]
        special = nt.ex.pool.special
        if special is not None and address in special:
            return True
        return address in nt.mm.nonpaged or address in nt.mm.paged

    return worded(check, f"Parameter {number} is {meaning}, an address in pool")


def parameter_in_driver(number: int, routine: str, meaning: str) -> Check:
    """Parameter `number` is an address in a driver's routine."""

    def check(facts: Facts) -> bool:
        return facts.symbol_at(facts.parameters[number - 1]).endswith(f"!{routine}")

    return worded(check, f"Parameter {number} is {meaning}, an address in {routine}")


def on_stack(routine: str) -> Check:
    """A driver's routine is on the stack of the bug check."""

    def check(facts: Facts) -> bool:
        return any(name.endswith(f"!{routine}") for name in facts.stack)

    return worded(check, f"{routine} is on the stack")


def app_says(text: str) -> Check:
    """The app printed a line with `text` in it."""

    def check(facts: Facts) -> bool:
        return text in facts.app().stdout

    return worded(check, f'The app prints "{text}"')


def worded(check: Check, text: str) -> Check:
    """The check with the sentence that `in_words` shows."""
    check.__doc__ = text
    return check
