"""Kd: what drivers say to the kernel debugger, and the masks that decide whether it is shown.

In come DbgPrint calls; out go lines (`Kd.lines`) and DebugPrinted events. WDK, "Reading and
Filtering Debugging Messages".
"""
