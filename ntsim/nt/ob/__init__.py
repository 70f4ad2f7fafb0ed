"""Ob: objects with headers and reference counts, handles, the namespace. Windows Internals 7, part
2, chapter 8, "Object Manager".
"""
