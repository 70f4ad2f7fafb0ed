"""nt: the kernel, one room per NT prefix.

`kernel.py` is one machine's kernel, `exports.py` the export table, `events.py` and `recorder.py`
what is remembered. An exported routine keeps its exact NT name and stands in the file of its
family: KeWaitForSingleObject is in ke/wait.py.
"""
