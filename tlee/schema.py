"""A value against a JSON Schema: the part of draft 7 that this project's own schemas use.

Interpreted, not compiled: on a board the usual library takes as long to compile a schema as all else that opening a
bundle does.
"""

import re
from typing import Any, Dict, Iterator, Optional, Tuple

TYPES: Dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
SIZES: Dict[type, Tuple[str, str]] = {
    dict: ("Properties", "entries"),
    list: ("Items", "items"),
    str: ("Length", "characters"),
}
KEYWORDS = {"$ref", "type", "const", "enum", "required", "properties", "additionalProperties", "propertyNames", "items"}
KEYWORDS |= {"minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength", "pattern"}
KEYWORDS |= {"minimum", "maximum", "$schema", "title", "description", "definitions"}
Schema = Dict[str, Any]


def problem(value: Any, schema: Schema, root: Optional[Schema] = None, place: str = "") -> Optional[str]:
    """What is wrong with a value of JSON, in a few words that name the place; None where nothing is. Definitions are
    those of `root`, else of the schema itself.

    Examples:
        >>> problem({"size": -1}, {"properties": {"size": {"type": "integer", "minimum": 0}}})
        'size is -1, less than 0'
    """
    root = root or schema
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rsplit("/", 1)[1]]
    wrong = _wrong_itself(value, schema)
    if wrong:
        return f"{place[:200] or 'all of it'} {wrong}"
    if isinstance(value, (dict, list)):
        for part, own, at in _parts(value, schema, place):
            wrong = problem(part, own, root, at)
            if wrong:
                return wrong
    return None


def _wrong_itself(value: Any, schema: Schema) -> Optional[str]:
    if "type" in schema:
        kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if isinstance(value, bool) or not isinstance(value, tuple([TYPES[kind] for kind in kinds])):
            return f"is no {' or '.join(kinds)}"
    if "const" in schema and value != schema["const"]:
        return f"is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"is none of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, dict):
        missing = [key for key in schema.get("required", ()) if key not in value]
        if missing:
            return f"has no {missing[0]}"
        if schema.get("additionalProperties") is False:
            extra = [key for key in value if key not in schema.get("properties", ())]
            if extra:
                return f"has an entry {extra[0][:80]!r} too many"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return f"is {value[:80]!r}, not of the form {schema['pattern']}"
    if type(value) in SIZES:
        what, words = SIZES[type(value)]
        return _out_of_bounds(len(value), schema, what, f"has {len(value)} {words}")
    return _out_of_bounds(value, schema, "imum", f"is {value}") if isinstance(value, (int, float)) else None


def _out_of_bounds(size: float, schema: Schema, what: str, words: str) -> Optional[str]:
    if size < schema.get("min" + what, size):
        return f"{words}, less than {schema['min' + what]}"
    if size > schema.get("max" + what, size):
        return f"{words}, more than {schema['max' + what]}"
    return None


def _parts(value: Any, schema: Schema, place: str) -> Iterator[Tuple[Any, Schema, str]]:
    """Names, entries and items of a value, with the schema of each and where it is."""
    if isinstance(value, dict):
        own, others = schema.get("properties", {}), schema.get("additionalProperties")
        names = schema.get("propertyNames")
        for key, entry in value.items():
            if names:
                yield key, names, f"the name {key[:80]!r} in {place[:200] or 'all of it'}"
            if key in own or isinstance(others, dict):
                yield entry, own.get(key, others), f"{place}.{key}" if place else key
    elif isinstance(value, list) and "items" in schema:
        for i, entry in enumerate(value):
            yield entry, schema["items"], f"{place}[{i}]"
