"""Etw: event tracing. Providers register and write; nobody listens, so nothing is formatted.

What a provider writes is an event of ntsim's own log. Read Windows Internals 7, part 2, chapter 10,
"Event Tracing for Windows".
"""
