"""Ke: the kernel core. IRQL, spin locks, dispatcher objects and waits, threads' scheduling, timers,
DPCs, affinity, processor-wide calls, bug checks.

In come calls of drivers and of the executive; out go context switches and interrupts. Windows
Internals 7, part 1, chapter 4 and part 2, chapter 8.
"""
