"""Experiments on a machine: what is run, how it should end, and what came of it.

In: a `Target` (drivers, apps, registry values, an expectation), from paths (`target.py`) or from a
scenario (`scenarios/`). `run.py` runs it; out comes a `Run` with a `RunResult`, which `--json`
prints. `samples.py` finds the sample drivers and apps, `project.py` writes a new project's files,
`doctor.py` tries whether ntsim works on this host. Tests and the command line use the same parts.
"""
