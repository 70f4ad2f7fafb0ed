"""Se: privileges and access checks. Windows Internals 7, part 1, chapter 7."""
