"""Hal: ports and counters of the machine, behind the names of hal.dll.

In come port numbers; the Processor does the work, so that a guest's IN and OUT exit as they should.
"""
