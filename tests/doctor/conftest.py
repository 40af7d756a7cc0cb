"""Machines for tests of the doctor, and the user who asks."""

import os

import pytest
from helpers import doctor_boards
from helpers.doctor_boards import Tree


@pytest.fixture(autouse=True)
def user(monkeypatch, tmp_path):  # after pytest has made its folder, which it does by the real one
    """The user `me`, whose login is in the groups that /etc/group says."""
    monkeypatch.setenv("LOGNAME", "me")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [44, 999, 1000])


@pytest.fixture
def nano(tmp_path) -> Tree:
    return doctor_boards.nano(tmp_path)


@pytest.fixture
def orin5(tmp_path) -> Tree:
    return doctor_boards.orin5(tmp_path)


@pytest.fixture
def orin6(tmp_path) -> Tree:
    return doctor_boards.orin6(tmp_path)


@pytest.fixture
def pc(tmp_path) -> Tree:
    return doctor_boards.pc(tmp_path)


@pytest.fixture
def tree(request) -> Tree:
    """The machine that a test is parametrized with."""
    return request.getfixturevalue(request.param)
