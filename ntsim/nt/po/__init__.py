"""Po: power IRPs. Windows Internals 7, part 1, chapter 6, "The power manager"."""
