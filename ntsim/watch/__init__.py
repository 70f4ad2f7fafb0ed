"""Observers: what looks at a machine and that nothing below imports.

In: the recorded events, the state that a bug check froze, the machine's memory. Out: the crash
report (`report`), the chain of events behind it (`why`), the event log, what a hung machine is
doing. Events are described in `ntsim/nt/events.py`.
"""
