"""Builds killed at random moments. Longer: TLEE_KILLS=60."""

import shutil

import pytest
from doubles.environment import environment
from helpers.boards import NANO_KEY
from helpers.kills import command, sweep

from tlee.bundle import Bundle
from tlee.engines.store import READY, UNCHECKED, EngineStore

pytestmark = pytest.mark.full


def test_builds(board, monkeypatch):
    for name, value in environment("8.2").items():
        monkeypatch.setenv(name, value)
    folder = board / "engines" / NANO_KEY

    def begin():
        shutil.rmtree(folder, ignore_errors=True)

    def sound():
        Bundle.open(board).verify()
        store = EngineStore(str(folder))
        assert store.distrust is None and {store.state(file) for file in store.entries} <= {READY, UNCHECKED}

    sweep(command("tlee-build", board), 4, sound, [board.parent, board, board / "engines", folder], begin)


def test_a_build_goes_on_where_it_was_killed(board, monkeypatch):
    for name, value in environment("8.2").items():
        monkeypatch.setenv(name, value)
    folder = board / "engines" / NANO_KEY

    def sound():
        store = EngineStore(str(folder))
        assert {store.state(file) for file in store.entries} <= {READY, UNCHECKED}
        if store.active:
            shutil.rmtree(folder)

    sweep(command("tlee-build", board), 5, sound, [board, board / "engines", folder])
