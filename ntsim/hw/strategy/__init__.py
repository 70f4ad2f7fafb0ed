"""Strategies: who runs next. Each is a three-line idea in a file of its own.

`schedule.py` writes the choices of a run as a short string and makes the strategy that replays it.
"""
