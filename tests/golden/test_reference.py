"""The plain second writing of the specification gives what the published code gave."""

import pytest
from golden.reference import Reference
from golden.traces import GIVEN, golden_state, load_trace, normalised_clip


@pytest.mark.parametrize("name", [GIVEN[0], pytest.param(GIVEN[1], marks=pytest.mark.full)])
def test_the_reference_repeats_the_given_traces(name):
    trace = load_trace(name)
    reference = Reference(trace, golden_state(trace["state_dict"], trace["logit_gain"]))
    clip = normalised_clip(trace)
    check(reference.run(clip, 2.0, 2.0, free=True), trace["free_run"])
    for run in trace["runs"]:
        check(reference.run(clip, run["first_threshold"], run["layer_threshold"]), run["steps"])


def check(got, wanted):
    assert [step.keys() for step in got] == [step.keys() for step in wanted]
    for step, want in zip(got, wanted):
        values = ("confidence", "gate", "feature_norm")
        assert {k: v for k, v in step.items() if k not in values} == {
            **{k: v for k, v in want.items() if k not in values},
            "logits5": pytest.approx(want["logits5"], rel=1e-4, abs=1e-4),
        }
        assert [step.get(k, 0) for k in values] == pytest.approx([want.get(k, 0) for k in values], rel=1e-4, abs=1e-5)
