import json

from helpers.mutations import as_json, mutations, of_bytes, of_value, of_yaml

GOOD = {"a": [1, 2.5, {"b": "c"}], "d": None}
YAML = "model:\n  classes: 10\n  cuts: [3, 5]\nlabels:\n- a\n"


def test_mutations_are_the_same_for_a_seed_and_leave_what_is_good_as_it_was():
    before = json.dumps(GOOD)

    for good, mutate in ((b"content of a file", of_bytes), (GOOD, of_value), (YAML, of_yaml)):
        some, again = (list(map(repr, mutations(good, mutate, 200, seed=3))) for _ in range(2))

        assert some == again
        assert len(set(some)) > 100
        assert some != list(map(repr, mutations(good, mutate, 200, seed=4)))
    assert json.dumps(GOOD) == before


def test_every_mutated_value_can_be_written():
    assert all(as_json(value) for value in mutations(GOOD, of_value, 300))
