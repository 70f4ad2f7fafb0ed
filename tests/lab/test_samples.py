"""The samples are found in a checkout and in an installed package alike."""

from pathlib import Path

import pytest

import ntsim
from ntsim.lab.samples import samples_root

REPOSITORY = Path(__file__).resolve().parents[2]


def tree(folder: Path, *parts: str) -> Path:
    for part in parts:
        (folder / part).mkdir(parents=True, exist_ok=True)
    return folder


def pretend_ntsim_is_in(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ntsim, "__file__", str(package / "__init__.py"))


def test_a_checkout_uses_its_own_folders() -> None:
    assert samples_root() == REPOSITORY


def test_an_installed_package_uses_what_the_wheel_carries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tree(tmp_path / "ntsim", "samples/driver", "samples/userapp")
    pretend_ntsim_is_in(package, monkeypatch)
    assert samples_root() == package / "samples"


def test_folders_of_other_packages_beside_it_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "driver", "userapp")
    package = tree(tmp_path / "ntsim", "samples/driver", "samples/userapp")
    pretend_ntsim_is_in(package, monkeypatch)
    assert samples_root() == package / "samples"


def test_without_samples_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_ntsim_is_in(tree(tmp_path / "ntsim"), monkeypatch)
    with pytest.raises(ntsim.ConfigurationError, match="install ntsim again"):
        samples_root()
