"""The simulation's benchmark simulates what it says."""

import re
from pathlib import Path

import numpy as np

from tlee.benchmarks.development import simulation
from tlee.calibration.thresholds.trace import Trace
from tlee.calibration.thresholds.trace_file import TraceFile, save_trace
from tlee.calibration.videos import Parts
from tlee.data.labelled.listing import Entry, Listing


def test_policies_are_simulated_on_as_many_videos_as_asked_for(tmp_path, capsys):
    videos, frames, exits = 5, 3, 2
    states = videos * frames  # one in each frame, whichever exit was taken
    child = np.where(np.arange(states) % frames < frames - 1, np.arange(1, states + 1), 0)
    rng = np.random.default_rng(0)
    numbers = rng.random((2, states, exits)).astype(np.float32)
    root, known = np.arange(0, states, frames, dtype=np.int32), np.ones((states, exits), bool)
    trace = Trace(root, np.tile(child[:, None], exits).astype(np.int32), known, *numbers, numbers[0] > 0.5)
    listing = Listing([Entry(Path(str(i)), (0,)) for i in range(videos)], ["a"], False, [])
    errors = np.zeros((2, exits))
    data = {"source": "a", "format": "folders", "split": "val", "held_out": None, "share": 0.5, "seed": 0}
    traced = TraceFile("model", "fp32", frames, trace, np.ones(exits), errors, Parts(listing, listing), data)
    save_trace(tmp_path / "trace.npz", traced)
    simulation.command([str(tmp_path / "trace.npz"), "--policies", "300", "--videos", "20", "--runs", "1"])
    assert re.fullmatch(r"300 policies on 20 videos: \d+\.\d+ s \(median of 1\)\n", capsys.readouterr().out)
