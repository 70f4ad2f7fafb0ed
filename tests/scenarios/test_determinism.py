"""Same seed, same run: byte-identical event logs and results in different processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ntsim.lab.run import Options, run
from ntsim.lab.scenarios import find

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = "import sys; from ntsim.cli import main; sys.exit(main())"


def logged(folder: Path, hash_seed: str, *arguments: str) -> tuple[bytes, bytes]:
    """The JSON and the event log of a run in a process of its own."""
    events = folder / f"events-{hash_seed}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "run", *arguments, "--json", "--events", str(events)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        check=True,
    )
    return done.stdout, events.read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["osr-vtx-0x4a", "--seed", "5"],
        ["osr-vtx-0x4a", "--fixed", "--processors", "7"],
        ["hfs-part3", "--seed", "9"],
        ["vmexit-irql", "--fixed", "--seed", "3"],
    ],
    ids=" ".join,
)
def test_two_processes_write_the_same_log(arguments: list[str], tmp_path: Path) -> None:
    first, second = (logged(tmp_path, hash_seed, *arguments) for hash_seed in ("1", "4242"))
    assert first[0] == second[0]
    assert first[1] == second[1]
    assert first[1].count(b"\n") > 30


def test_another_seed_is_another_run() -> None:
    target = find("hfs-part3").target()
    logs = []
    for seed in (1, 2):
        with run(target, Options(seed=seed)) as made:
            logs.append([str(event) for event in made.machine.events])
    assert logs[0] != logs[1]


def test_a_recorded_schedule_replays() -> None:
    target = find("hfs-part3-no-affinity").target()
    with run(target, Options(seed=11, processors=4)) as made:
        recorded = made.result, [str(event) for event in made.machine.events]
    with run(target, Options(schedule=recorded[0].schedule)) as again:
        assert again.result.differences(recorded[0]) == []
        assert [str(event) for event in again.machine.events] == recorded[1]
