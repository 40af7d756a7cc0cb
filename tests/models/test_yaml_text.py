"""YAML is plain values, or refused with the line."""

import pytest
import yaml

from tlee.errors import UsageError
from tlee.models.config import YAML_LIMIT, read_yaml
from tlee.models.yaml_text import parse_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)


def test_plain_values_come_as_yaml_means_them():
    text = "a: 1\nb: [1.5, -2, 1.0e-05, true, null, ~, text, '007']\nc: {d: &x {e: 1}, f: *x}\ng: {<<: *x, h: 2}\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml("") is None and parse_yaml("3") == 3


@pytest.mark.parametrize(
    "text, problem",
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is given twice"),
        ("a: {b: 1, b: 1}", "line 1: the key 'b' is given twice"),
        ("a: 2020-13-40", "line 1: a value of type timestamp"),
        ("a: 2020-01-01", "line 1: a value of type timestamp"),
        ("a:\n- 0x_", "line 2: '0x_' is no plain number"),
        ("a: 0x1F", "'0x1F' is no plain number"),
        ("a: 190:20:30", "'190:20:30' is no plain number"),
        ("a: 1:30.5", "'1:30.5' is no plain number"),
        ("a: 007", "'007' is no plain number"),
        ("a: .inf", "'.inf' is no plain number"),
        ("a: .nan", "'.nan' is no plain number"),
        ("a: " + "9" * 5000, "is no plain number"),
        ("a: !!int x", "'x' is no plain number"),
        ("a: !!bool x", "not of the type that it names"),
        ("a: !!binary eA==", "a value of type binary"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine|a value of type"),
        ("1: a", "line 1: a key that is no text"),
        ("true: a", "a key that is no text"),
        ("? [a]\n: b", "a key that is no text"),
        ("{[a]: b}", "a key that is no text"),
        ("[" * 2000, "nested too deeply"),
        ("{a: " * 2000, "nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60, "nested too deeply"),
        ("&a [*a]", "nested too deeply"),
        (LAUGHS, "too many values"),
        ("a: *b", "line 1: found undefined alias"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("a\x00b", "special characters are not allowed"),
        ('a:\n- "b\\0c"', "line 2: a zero byte"),
        ('a: "\\ud800"', "half of a surrogate pair"),
    ],
)
def test_what_is_not_plain_is_refused_with_the_place(text, problem):
    with pytest.raises(ValueError, match=problem) as refused:
        parse_yaml(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path):
    with open(tmp_path / "a.yml", "wb") as stream:
        stream.truncate(40 << 30)
    with pytest.raises(UsageError, match=f"a.yml: 42,949,672,960 bytes, more than the {YAML_LIMIT:,}"):
        read_yaml(tmp_path / "a.yml")
