"""The benchmark of training measures every way to train."""

import pytest

from tlee.benchmarks.development import training


@pytest.mark.full
def test_every_way_to_train_is_measured(capsys):
    small = ["--backbone", "mobilenetv2", "--size", "32", "--batch", "2", "--runs", "1", "--threads", "1"]
    training.command(small)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["MB", "at", "most"]
    assert [row.split()[0] for row in rows if row.split()[0] in training.WAYS] == [*training.WAYS]
    assert all(float(row.split()[1]) > 0 for row in rows if row.split()[0] in training.WAYS)
