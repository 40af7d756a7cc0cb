"""What makes a double strict: no attribute that the release lacks, arguments of the declared types only.

Annotations here are names: builtins, "Size" (not negative), "Buffer", "Dims", "None", "list[int]", "list[str]" or a
class of the release, joined by " | ". pybind11 checks the same way, in its documentation's chapter on type conversions.
"""

from __future__ import annotations

import enum
import functools
import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Release:
    """What the shared code asks about the release.

    Attributes:
        version: of TensorRT, three numbers.
        operators: of which release the parser's table is; `more` operators than it says.
        int64: a type of its own; before 10, 64-bit integers become 32-bit ones (changelog of the ONNX parser, 9.0).
        explicit_batch: networks have it only on request.
        capsule: device memory is given as a capsule, not as an int.
        types: the release's classes by name.
    """

    version: tuple[int, int, int]
    operators: str
    opset: int
    more: frozenset[str] = frozenset()
    int64: bool = False
    explicit_batch: bool = True
    capsule: bool = False
    types: dict[str, type] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """NV_TENSORRT_VERSION of NvInferVersion.h."""
        major, minor, patch = self.version
        return major * (1000 if major < 10 else 10000) + minor * 100 + patch


RELEASE = Release((0, 0, 0), "", 0)  # becomes that of the `tensorrt` which is imported


class PybindEnum(enum.Enum):
    """As of pybind11's `enum_` with `arithmetic`: compares with ints and orders, but `1 << member` needs `int()`."""

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PybindEnum):
            return type(other) is type(self) and other.value == self.value
        return isinstance(other, int) and other == self.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: object) -> bool:
        return self.value < int(other)

    def __le__(self, other: object) -> bool:
        return self.value <= int(other)

    def __gt__(self, other: object) -> bool:
        return self.value > int(other)

    def __ge__(self, other: object) -> bool:
        return self.value >= int(other)


def enumeration(name: str, members: str) -> type[PybindEnum]:
    """From "A B=5 C": numbers count on from the last one. Two names of one number are one member."""
    values, number = {}, 0
    for member in members.split():
        key, _, given = member.partition("=")
        number = int(given) if given else number
        values[key] = number
        number += 1
    return PybindEnum(name, values, module="tensorrt")


class NoConstructor:
    """Objects of these classes come from others' methods."""

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError(f"tensorrt.tensorrt.{type(self).__name__}: No constructor defined!")


def make(kind: str, /, **private: object):
    """An object of a class of the release, with values for its private attributes."""
    made = object.__new__(RELEASE.types[kind])
    for key, value in private.items():
        setattr(made, "_" + key, value)
    return made


def member(kind: str, name: str) -> PybindEnum:
    """A member of one of the release's enumerations."""
    return RELEASE.types[kind][name]


def compose(
    release: Release, enums: dict[str, type], shared: dict[str, type], surface: dict[str, tuple[type, str]]
) -> dict[str, type]:
    """The release's classes: those `shared` as they are, of each of `surface` the members named."""
    vars(RELEASE).update(vars(release))
    classes = {name: only(name, full, members.split()) for name, (full, members) in surface.items()}
    RELEASE.types.update({**enums, **shared, **classes})
    return {**enums, **shared, **classes}


def only(name: str, full: type, members: Sequence[str]) -> type:
    """A class with these public members of `full`, checked, and with all private ones."""
    slots = tuple(getattr(full, "__slots__", ()))
    content = {k: v for k, v in vars(full).items() if k not in slots and k not in ("__dict__", "__weakref__")}
    missing = [m for m in members if not hasattr(full, m)]
    if missing:
        raise AttributeError(f"{name}: there is no {missing}")
    public = {k: checked(v) for k, v in content.items() if k in (*members, "__init__")}
    kept = {**{k: v for k, v in content.items() if k.startswith("_")}, **public}
    return type(full)(
        name, full.__bases__, {**kept, "__module__": "tensorrt", "__slots__": slots, "__doc__": full.__doc__}
    )


def checked(value: object) -> object:
    if isinstance(value, property):
        return property(value.fget, value.fset and _checked(value.fset), doc=value.__doc__)
    return _checked(value) if isinstance(value, types.FunctionType) else value


def _checked(function: Callable) -> Callable:
    signature = inspect.signature(function)
    hints = {p.name: p.annotation for p in signature.parameters.values() if isinstance(p.annotation, str)}

    @functools.wraps(function)
    def call(*args, **kwargs):
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in hints and not any(fits(value, kind) for kind in hints[name].split(" | ")):
                raise TypeError(
                    f"{function.__name__}(): incompatible function arguments: {name} is {hints[name]}, not {value!r}"
                )
        return function(*args, **kwargs)

    return call


def fits(value: object, kind: str) -> bool:
    if kind in ("int", "Size"):
        return hasattr(value, "__index__") and (kind == "int" or value.__index__() >= 0)
    if kind.startswith("list["):
        return isinstance(value, (list, tuple)) and all(fits(item, kind[5:-1]) for item in value)
    if kind == "Dims":
        return fits(value, "list[int]") or type(value).__name__ == "Dims"
    if kind == "Buffer":
        try:
            return memoryview(value).c_contiguous
        except TypeError:
            return False
    if kind == "float":
        return isinstance(value, (int, float))
    if kind == "object":
        return True
    builtin = {"str": str, "bool": bool, "None": type(None)}.get(kind)
    return isinstance(value, builtin or RELEASE.types[kind])
