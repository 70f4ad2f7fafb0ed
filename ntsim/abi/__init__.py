"""What both sides of the kernel boundary `#include`: layouts, codes, encodings, contracts.

Imports nothing but the standard library. Other rooms take names from the modules here; nothing here
knows a machine, except that a structure can be laid over a memory it is handed.
"""
