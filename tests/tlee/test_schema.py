"""The checker of schemas names what is wrong, and our schemas use no more than it knows."""

import json
from pathlib import Path

import pytest

from tlee.schema import KEYWORDS, problem

SCHEMAS = sorted((Path(__file__).parents[2] / "tlee").glob("*.schema.json"))


def keywords(schema):
    for key, value in schema.items():
        yield key
        if key in ("properties", "definitions"):
            for entry in value.values():
                yield from keywords(entry)
        elif isinstance(value, dict) and key != "const":
            yield from keywords(value)


def test_there_are_schemas():
    assert "manifest.schema.json" in [path.name for path in SCHEMAS]


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_a_schema_uses_nothing_that_is_not_checked(path):
    assert set(keywords(json.loads(path.read_text()))) <= KEYWORDS


CASES = [
    ({"type": "integer"}, 1, 1.0, "no integer"),
    ({"type": "integer"}, -5, True, "no integer"),
    ({"type": "number"}, 1.5, "1", "no number"),
    ({"type": ["object", "null"]}, None, [], "no object or null"),
    ({"const": 7}, 7, 8, "is not 7"),
    ({"enum": ["a", "b"]}, "b", "c", "none of a, b"),
    ({"minimum": 2}, 2, 1, "1, less than 2"),
    ({"maximum": 2}, 2, 2.5, "2.5, more than 2"),
    ({"minItems": 2}, [1, 2], [1], "1 items, less than 2"),
    ({"maxItems": 2}, [1, 2], [1, 2, 3], "3 items, more than 2"),
    ({"minLength": 1}, "a", "", "0 characters, less than 1"),
    ({"maxLength": 2}, "ab", "abc", "3 characters, more than 2"),
    ({"minProperties": 1}, {"a": 1}, {}, "0 entries, less than 1"),
    ({"maxProperties": 1}, {"a": 1}, {"a": 1, "b": 1}, "2 entries, more than 1"),
    ({"pattern": "^a+$"}, "aa", "ab", "not of the form"),
    ({"required": ["a"]}, {"a": 1}, {"b": 1}, "has no a"),
    ({"properties": {"a": {"type": "string"}}}, {"a": "", "b": 1}, {"a": 1}, "a is no string"),
    ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}, "entry 'b' too many"),
    ({"additionalProperties": {"type": "null"}}, {"b": None}, {"b": 1}, "b is no null"),
    ({"propertyNames": {"pattern": "^a"}}, {"ab": 1}, {"b": 1}, "the name 'b'"),
    ({"items": {"type": "array", "items": {"maximum": 1}}}, [[1], [0]], [[1], [2]], r"\[1\]\[0\] is 2"),
    (
        {"properties": {"a": {"$ref": "#/definitions/d"}}, "definitions": {"d": {"const": 1}}},
        {"a": 1},
        {"a": 2},
        "a is",
    ),
]


@pytest.mark.parametrize(("schema", "good", "bad", "said"), CASES)
def test_what_is_wrong_is_named(schema, good, bad, said):
    assert problem(good, schema) is None
    with pytest.raises(ValueError, match=said):
        raise ValueError(problem(bad, schema))


def test_every_keyword_has_a_case():
    known = {key for schema, *_ in CASES for key in keywords(schema)}
    assert KEYWORDS - known == {"$schema", "title", "description"}
