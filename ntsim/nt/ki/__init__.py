"""Ki: where control enters and leaves the kernel. Interrupts, traps and faults, system calls and
their exit checks, APC delivery, stack frames.

In come vectors, faults and system calls; out go calls of Ke, Mm and Io, exceptions and bug checks.
Windows Internals 7, part 2, chapter 8, "Trap dispatching".
"""
