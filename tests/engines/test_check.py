"""Engines for several videos have to answer in every place."""

import sys

import pytest

from tlee.bundle import Bundle
from tlee.engines import releases
from tlee.engines.check import differences
from tlee.engines.cuda import opened_cuda
from tlee.engines.interface import Settings
from tlee.errors import EngineError


@pytest.fixture(params=["8.2", "10"])
def check(load, exported, request):
    """Builds the first exit for so many videos, and checks it for so many; on a double of each interface."""
    load(request.param)
    release, bundle = releases.load("tensorrt"), Bundle.open(exported)

    def differ(built, checked):
        settings = Settings(workspace=1 << 28, batch=built)
        engine = release.deserialize(bytes(release.build(bundle.read("exit0"), settings).engine))
        with opened_cuda() as cuda:
            return differences(release, cuda, engine, bundle, "exit0", checked)

    return differ


@pytest.mark.parametrize("built, checked", [(1, 1), (3, 3), (3, 2)])
def test_an_engine_answers_in_every_place(check, built, checked):
    found = check(built, checked)
    assert set(found) == {"z", "logits", "confidence", "score"} and max(found.values()) < 1e-5


def test_an_engine_that_answers_in_the_first_place_only_is_found(check, monkeypatch):
    context = sys.modules["nvinfer_double.context"]
    whole = context.compute

    def first_only(engine, shapes, memory):
        whole(engine, shapes, memory)
        for value, view in zip(engine._head["io"], memory):
            if value["mode"] == "OUTPUT":
                view[len(view) // 3 :] = bytes(len(view) - len(view) // 3)

    monkeypatch.setattr(context, "compute", first_only)
    assert min(check(3, 3).values()) > 0.1


def test_an_engine_for_fewer_videos_is_refused(check):
    with pytest.raises(EngineError, match="^exit0: the engine answers one video only, not 3 at once; build it again"):
        check(1, 3)
    with pytest.raises(EngineError, match="takes no 4 videos at once: .+; build with --batch 4"):
        check(3, 4)
