"""What the training tests share: a small set of clips, the configuration of a run on it, and what makes runs short."""

import pytest
from conftest import SMALL

from tlee.training import train
from tlee.training.stages import STAGES


@pytest.fixture
def plots():
    """For tests whose runs shall draw: that takes longer than small trainings do."""


@pytest.fixture(scope="module")
def without_plots():
    """For fixtures that are runs: `no_plots_unasked` is too late for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "plot_run", lambda folder: None)
        yield


@pytest.fixture(autouse=True)
def no_plots_unasked(request):
    with pytest.MonkeyPatch.context() as patch:
        if "plots" not in request.fixturenames:
            patch.setattr(train, "plot_run", lambda folder: None)
        yield


@pytest.fixture(scope="session")
def configuration(folders):
    """Builds the content of a configuration file; `changes` replace its sections."""

    def build(**changes):
        stages = [{"stage": s, "epochs": 1, "batch": 4, "learning_rate": 0.01} for s in STAGES]
        data = {"train": str(folders / "train"), "val": str(folders / "val"), "cache": True}
        return {**SMALL, "labels": [], "init": "random", "data": data, "stages": stages, **changes}

    return build
