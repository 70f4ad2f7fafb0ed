"""Where the sample drivers and apps are: inside the installed package, or in a checkout."""

from pathlib import Path

import ntsim
from ntsim.errors import ConfigurationError


def samples_root() -> Path:
    """The folder that holds `driver/` and `userapp/`.

    In a checkout (an editable install too) that is the repository, so that an edited sample is the
    one that runs; a wheel carries both folders as `ntsim/samples`.
    """
    package = Path(ntsim.__file__).resolve().parent
    for folder in (package.parent, package / "samples"):
        if _is_samples_root(folder):
            return folder
    raise ConfigurationError(
        f"the sample drivers are neither in {package / 'samples'} nor beside {package}: "
        "install ntsim again, or run it from a complete checkout"
    )


def _is_samples_root(folder: Path) -> bool:
    """Both folders, in a place of ours: site-packages may hold somebody else's `driver` package."""
    ours = folder.name == "samples" or (folder / "pyproject.toml").is_file()
    return ours and all((folder / part).is_dir() for part in ("driver", "userapp"))
