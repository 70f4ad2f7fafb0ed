"""The machine: RAM, page tables, processors, clock, APIC, ports, VT-x, the engine.

In come stores and instructions of whoever runs on it; out come bytes, faults, interrupts and VM
exits. Nothing here knows of Windows. `interleave.py` lets the processors take turns on one host
thread, `strategy/` decides who is next. Read `cpu.py` first. SDM volume 3.
"""
