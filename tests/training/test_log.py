"""What a run says while it goes on, and how long it believes it will take."""

import pytest

from tlee.training.forecast import Forecast, Work, about
from tlee.training.log import EpochProgress, say


def test_a_long_epoch_says_every_half_minute_where_it_is(capsys):
    now = iter(range(0, 1000, 10))
    with EpochProgress("frames 1/2", steps=8, done=0, shown=True, clock=lambda: next(now)) as shown:
        for step in range(8):
            shown.advance()
            shown.loss(1.0 / (step + 1))
    out = capsys.readouterr().out.splitlines()
    assert out == ["frames 1/2: 3 of 8 steps, loss 0.3333", "frames 1/2: 6 of 8 steps, loss 0.1667"]


def test_a_process_that_does_not_print_says_nothing(capsys):
    now = iter(range(0, 1000, 100))
    with EpochProgress("frames 1/2", steps=8, done=0, shown=False, clock=lambda: next(now)) as shown:
        shown.advance()
        shown.loss(1.0)
    assert capsys.readouterr() == ("", "")


def test_every_line_is_in_the_file_at_once(tmp_path, monkeypatch):
    with open(tmp_path / "log", "w", buffering=1 << 16) as file:
        monkeypatch.setattr("sys.stdout", file)
        say("epoch 1")
        assert (tmp_path / "log").read_text() == "epoch 1\n"


def test_the_time_to_go_comes_from_what_is_done():
    forecast = Forecast([Work(0, 30, 4), Work(0, 10, 2), Work(40, 0, 8)])
    forecast.add(0, seconds=60)
    assert forecast.left(0, done=1) == 3 * 60 + 2 * 20 + 80
    forecast.add(1, seconds=40)
    assert forecast.left(1, done=1) == 40 + 160
    forecast.add(2, seconds=0.5)
    assert forecast.left(2, done=8) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "less than a minute"), (70, "about 1 minute"), (840, "about 14 minutes"), (7500, "about 2 h 5 min")],
)
def test_a_time_is_rounded_to_what_is_known(seconds, words):
    assert about(seconds) == words
