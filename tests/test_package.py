"""What the distribution brings beside its modules."""

from importlib import resources

import pytest


@pytest.mark.parametrize("package", ["gateway", "adapters"])
def test_a_type_checker_goes_by_the_types_of_the_installed_package(package: str) -> None:
    """Without the marker everything that an adapter from outside takes from `gateway.sdk` is Any to it."""
    assert resources.files(package).joinpath("py.typed").is_file()
