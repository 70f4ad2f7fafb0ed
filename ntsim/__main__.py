"""`python -m ntsim`: the command line, where `ntsim` is not on the path."""

import sys

from ntsim.cli import main

sys.exit(main())
