import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("module", ["figures", "health", "metrics", "monitor", "observe"])
def test_the_examples_in_the_docstrings_are_so(module: str) -> None:
    failed, tried = doctest.testmod(import_module(f"finerank.monitoring.{module}"))
    assert (failed, tried > 0) == (0, True)
