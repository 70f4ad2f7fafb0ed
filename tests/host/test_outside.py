"""Simulated code cannot sleep, draw lots or start threads on the host, callable or not."""

import random
import threading
import time
from typing import Any

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *


def sleeps() -> None:
    time.sleep(0.001)


def draws() -> None:
    random.randint(0, 1)


def starts_a_thread() -> None:
    threading.Thread(target=print).start()


@pytest.mark.parametrize(
    ("app", "instead"),
    [(sleeps, "Sleep"), (draws, "seed"), (starts_a_thread, "CreateThread")],
)
def test_a_callable_app_hears_what_to_use_instead(
    ntsim_machine: Any, app: Any, instead: str
) -> None:
    process = ntsim_machine().run(app)
    assert process.exit_code == 1
    assert instead in process.stderr
    assert "outside the simulated machine" in process.stderr


def test_a_callable_driver_too(run_driver: Any) -> None:
    with pytest.raises(BugCheck) as caught:
        run_driver(sleeps)
    assert caught.value.parameters[0] == 0xE0507945


def test_the_host_has_them_back_afterwards(ntsim_machine: Any) -> None:
    before = time.sleep, threading.Thread.start, random.random, random.randint
    machine = ntsim_machine()
    machine.run(sleeps)
    assert (time.sleep, threading.Thread.start, random.random, random.randint) == before
    time.sleep(0)


def test_other_threads_of_the_host_go_on(ntsim_machine: Any) -> None:
    done = threading.Event()

    def host_thread() -> None:
        while not done.is_set():
            time.sleep(0.001)

    thread = threading.Thread(target=host_thread)
    thread.start()
    try:
        assert ntsim_machine().run(lambda: 0).exit_code == 0
        assert thread.is_alive()
    finally:
        done.set()
        thread.join()
