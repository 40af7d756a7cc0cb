"""A value against a JSON Schema: the part of draft 7 that this project's own schemas use.

Interpreted, not compiled: on a board the usual library takes as long to compile a schema as all else that opening a
bundle does.
"""

import re
from typing import Any, Dict, List, Optional

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}
KEYWORDS = {"$ref", "type", "const", "enum", "required", "properties", "additionalProperties", "propertyNames", "items"}
KEYWORDS |= {"minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength", "pattern"}
KEYWORDS |= {"minimum", "maximum", "$schema", "title", "description", "definitions"}


def problem(value: Any, schema: Dict[str, Any]) -> Optional[str]:
    """What is wrong with a value of JSON, in a few words that name the place; None where nothing is.

    Example:
        >>> problem({"size": -1}, {"properties": {"size": {"type": "integer", "minimum": 0}}})
        'size is -1, less than 0'
    """
    return _problem(value, schema, schema, "")


def _problem(value: Any, schema: Dict[str, Any], root: Dict[str, Any], at: str) -> Optional[str]:
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rsplit("/", 1)[1]]
    kinds = schema.get("type")
    if kinds is not None:
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if isinstance(value, bool) or not any(isinstance(value, TYPES[kind]) for kind in kinds):  # type: ignore[arg-type]
            return "{} is no {}".format(_name(at), " or ".join(kinds))
    if "const" in schema and value != schema["const"]:
        return "{} is not {!r}".format(_name(at), schema["const"])
    if "enum" in schema and value not in schema["enum"]:
        return "{} is none of {}".format(_name(at), ", ".join(map(str, schema["enum"])))
    if isinstance(value, dict):
        return _size(value, schema, at, "Properties", "entries") or _in_object(value, schema, root, at)
    if isinstance(value, list):
        return _size(value, schema, at, "Items", "items") or _in_array(value, schema, root, at)
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return "{} is {!r}, not of the form {}".format(_name(at), value[:80], schema["pattern"])
        return _size(value, schema, at, "Length", "characters")
    if isinstance(value, (int, float)):
        if value < schema.get("minimum", value):
            return "{} is {}, less than {}".format(_name(at), value, schema["minimum"])
        if value > schema.get("maximum", value):
            return "{} is {}, more than {}".format(_name(at), value, schema["maximum"])
    return None


def _in_object(value: Dict[str, Any], schema: Dict[str, Any], root: Dict[str, Any], at: str) -> Optional[str]:
    missing = [key for key in schema.get("required", ()) if key not in value]
    if missing:
        return f"{_name(at)} has no {missing[0]}"
    own: Dict[str, Any] = schema.get("properties", {})
    names, others = schema.get("propertyNames"), schema.get("additionalProperties", True)
    for key, entry in value.items():
        place = f"{at}.{key}" if at else key
        found = _problem(key, names, root, f"the name {key[:80]!r} in {_name(at)}") if names else None
        if found is None and key in own:
            found = _problem(entry, own[key], root, place)
        elif found is None and others is False:
            found = f"{_name(at)} has an entry {key[:80]!r} too many"
        elif found is None and others is not True:
            found = _problem(entry, others, root, place)
        if found is not None:
            return found
    return None


def _in_array(value: List[Any], schema: Dict[str, Any], root: Dict[str, Any], at: str) -> Optional[str]:
    items = schema.get("items")
    if items is not None:
        for i, entry in enumerate(value):
            found = _problem(entry, items, root, f"{at}[{i}]")
            if found is not None:
                return found
    return None


def _size(value: Any, schema: Dict[str, Any], at: str, what: str, words: str) -> Optional[str]:
    least, most = schema.get("min" + what, 0), schema.get("max" + what, len(value))
    if least <= len(value) <= most:
        return None
    return "{} has {} {}, {} {}".format(_name(at), len(value), words, *_bound(len(value), least, most))


def _bound(size: int, least: int, most: int) -> Any:
    return ("less than", least) if size < least else ("more than", most)


def _name(at: str) -> str:
    return at[:200] or "all of it"
