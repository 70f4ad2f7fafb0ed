"""Rtl: lists, strings, memory, exceptions. Windows Internals 7, part 1, chapter 2."""
