"""The pinned requirements of each JetPack: exact, without what JetPack brings, in the registry for its Python."""

from __future__ import annotations

import ast
import json
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[2]
PYTHONS = {"jetpack4": "3.6.9", "jetpack5": "3.8.10", "jetpack6": "3.10.12"}
GLIBC = {"jetpack4": 27, "jetpack5": 31, "jetpack6": 35}  # 2.x of Ubuntu 18.04, 20.04, 22.04
COMPILED = {"pycuda", "pytools", "jetson-stats"}  # the registry has sources alone


def pins(name: str) -> dict[str, str]:
    """Name to version of a file of requirements. Fails where a line is no comment and not NAME==VERSION."""
    result = {}
    for line in (ROOT / "install" / f"{name}.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, line
        assert not requirement.extras and not requirement.marker and not requirement.url, line
        result[canonicalize_name(requirement.name)] = specifier.version
    return result


@pytest.mark.parametrize("name", [*PYTHONS, "tools"])
def test_every_requirement_is_one_exact_release(name):
    assert pins(name)


@pytest.mark.parametrize("name", PYTHONS)
def test_what_jetpack_brings_is_not_among_them(name):
    brought = ("numpy", "opencv", "tensorrt", "nvidia", "onnxruntime")
    assert not [pin for pin in pins(name) if pin.startswith(brought)]


def jetson_extra() -> list[Requirement]:
    """Of setup.py, read and not run."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    (call,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    ]
    (extras,) = [keyword.value for keyword in call.keywords if keyword.arg == "extras_require"]
    assert isinstance(extras, ast.Dict)
    (values,) = [v for k, v in zip(extras.keys, extras.values) if isinstance(k, ast.Constant) and k.value == "jetson"]
    return [Requirement(line) for line in ast.literal_eval(values)]


@pytest.mark.parametrize(("name", "python"), PYTHONS.items())
def test_the_pins_satisfy_the_extra_of_setup_py(name, python):
    pinned = pins(name)
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    wanted = [r for r in jetson_extra() if r.marker is None or r.marker.evaluate(environment)]

    assert len(wanted) == (2 if name == "jetpack4" else 3)  # PyAV has no wheel for Python 3.6
    for requirement in wanted:
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def releases(name: str) -> dict:
    with urllib.request.urlopen(f"https://pypi.org/pypi/{name}/json", timeout=60) as answer:
        return json.load(answer)["releases"]


def fits(wheel: str, name: str) -> bool:
    """Whether pip 21.3 takes the wheel on that JetPack."""
    version = tuple(int(part) for part in PYTHONS[name].split(".")[:2])
    glibc = GLIBC[name]
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(17, glibc + 1)] + ["manylinux2014_aarch64"]
    abi = f"cp{version[0]}{version[1]}" + ("m" if version < (3, 8) else "")
    tags = {str(tag) for tag in cpython_tags(version, [abi, "abi3", "none"], platforms)} | {
        "py3-none-any",
        "py2-none-any",
    }
    return any(str(tag) in tags for tag in parse_wheel_filename(wheel)[3])


@pytest.mark.full
@pytest.mark.parametrize("name", [*PYTHONS, "tools"])
def test_the_registry_has_every_pin_for_that_python_on_a_board(name):
    for pin, version in pins(name).items():
        files = releases(pin).get(version)
        assert files, f"{pin}=={version}: not in the registry"
        for jetpack in [name] if name in PYTHONS else PYTHONS:
            usable = [f for f in files if not f["yanked"]]
            usable = [f for f in usable if SpecifierSet(f["requires_python"] or "").contains(PYTHONS[jetpack])]
            wheels = [f for f in usable if f["packagetype"] == "bdist_wheel" and fits(f["filename"], jetpack)]
            sources = [f for f in usable if f["packagetype"] == "sdist"]
            assert wheels or (pin in COMPILED and sources), f"{pin}=={version}: nothing for {jetpack}"
