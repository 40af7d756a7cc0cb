"""What tests of the installer share."""

import sys

import pytest
from helpers.install_boards import healthy_board


@pytest.fixture
def board(tmp_path):
    """A function: name of a board in `BOARDS` to a healthy one of files."""
    return lambda name, python=sys.executable: healthy_board(tmp_path, name, python)
