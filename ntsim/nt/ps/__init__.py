"""Ps: processes and threads. Windows Internals 7, part 1, chapters 3 and 4."""
