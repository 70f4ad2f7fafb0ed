"""Vf: Driver Verifier.

`options` says what can be asked for, `verifier` looks at every call that a verified driver makes
and at every dispatch and completion routine the kernel calls; each further file is one of
Windows' options. Nothing here runs in a machine without `verifier=`. WDK "Driver Verifier",
"Bug Check 0xC4", "Bug Check 0xC9".
"""
