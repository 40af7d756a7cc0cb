"""Dockerfiles and compose files: what they name exists, versions are exact, and settings are the entrypoint's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

import tlee

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*Dockerfile"))
COMPOSES = sorted(DOCKER.glob("compose.*.yml"))
# What a compose file takes from whoever starts it, beside the entrypoint's settings.
HOST = {"BUNDLE", "RESULTS", "VIDEOS", "VIDEO_DEVICE", "JTOP_SOCKET", "JTOP_GID", "JETSON_STATS", "RESTART"}


def of(paths):
    return pytest.mark.parametrize("path", paths, ids=[path.name for path in paths])


def joined(path: Path) -> str:
    """A Dockerfile with every instruction on one line, without comments."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    return text.replace("\\\n", " ")


def settings() -> set[str]:
    """What the entrypoint and the health check say that they read, at their top."""
    listed = re.findall(r"^#   ([A-Z_]+)  ", (DOCKER / "entrypoint.sh").read_text(), re.MULTILINE)
    return set(listed)


def sent() -> list[str]:
    """Patterns of .dockerignore that let something in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line[1:] for line in lines if line.startswith("!")]


def is_sent(name: str) -> bool:
    return any(fnmatch(name, pattern) or name.split("/")[0] == pattern for pattern in sent())


def test_there_is_an_image_and_a_compose_file_for_each_board_and_for_none():
    names = {"cpu", "jetpack4", "jetpack5", "jetpack6"}
    assert {path.stem for path in DOCKERFILES} == names
    assert {path.name.split(".")[1] for path in COMPOSES} == names


@of(DOCKERFILES)
def test_hadolint_has_nothing_to_say(path):
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [hadolint, "--config", ROOT / ".hadolint.yaml", path]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr


def test_shellcheck_has_nothing_to_say_of_the_build():  # tests/install looks at the images' scripts
    command = [Path(sys.executable).with_name("shellcheck"), Path(__file__).with_name("build.sh")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@of(DOCKERFILES)
def test_the_base_is_an_exact_release(path):
    (base,) = re.findall(r"^ARG BASE=(\S+)$", path.read_text(), re.MULTILINE)
    name, _, tag = base.rpartition(":")
    assert name and re.search(r"\d+\.\d+|\d{8}", tag), base
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", path.read_text(), re.MULTILINE))
    for source in re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE):
        assert source == "${BASE}" or source in stages


@of(DOCKERFILES)
def test_copied_files_exist_and_are_sent_to_the_builder(path):
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", joined(path), re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert name == "." or is_sent(name), name


def test_the_builder_gets_all_that_is_installed_and_little_else():
    from_setup = re.findall(r'"([a-z]+)(?:/[a-z]+)*"', (ROOT / "setup.py").read_text().split("packages = ")[0])
    for folder in {"tlee", *from_setup}:
        assert is_sent(f"{folder}/any.py"), folder
    for name in ("build/digits.tlee", ".git/config", ".venv/bin/python", "examples/clips/a.mp4", "tests/conftest.py"):
        assert not is_sent(name), name


@of(DOCKERFILES)
def test_pip_gets_exact_versions_and_leaves_no_cache(path):
    calls = re.findall(r"pip install ([^&\n]*)", joined(path))
    assert calls
    for call in calls:
        assert "--no-cache-dir" in call
        packages = [word for word in call.split() if not word.startswith(("-", "/", "https:"))]
        assert packages or "-r /build/" in call or "/build/tlee" in call
        assert all(re.fullmatch(r"[a-z]+==[\d.]+", word) for word in packages), packages


@of([DOCKER / "cpu.txt"])
def test_requirements_are_exact(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert lines and all(re.fullmatch(r"[a-z-]+==[\d.]+", line) for line in lines)


@of(DOCKERFILES)
def test_jetpack_images_bring_no_numpy_and_no_opencv_of_their_own(path):
    if path.stem == "cpu":
        return
    requirements = re.findall(r"^COPY (install/\S+\.txt) ", path.read_text(), re.MULTILINE)
    assert f"install/{path.stem}.txt" in requirements
    names = re.findall(r"^([\w-]+)==", "\n".join((ROOT / name).read_text() for name in requirements), re.MULTILINE)
    assert names and not {"numpy", "opencv-python", "opencv-python-headless", "tensorrt"} & set(names)


@of(DOCKERFILES)
def test_images_end_alike(path):
    text = joined(path)
    final = text[text.rindex("\nFROM base\n") :]
    assert "USER 1000" in final and "--uid 1000" in final and "--groups video tlee" in final
    assert 'VOLUME ["/bundle", "/engines", "/key", "/output"]' in final
    assert 'ENTRYPOINT ["entrypoint.sh"]' in final and 'CMD ["healthcheck.sh"]' in final
    assert "STOPSIGNAL SIGINT" in final and "PYTHONUNBUFFERED=1" in final
    assert set(re.findall(r"image\.(\w+)=", final)) == {"title", "description", "version", "licenses"}
    assert re.findall(r"apt-get install (?!-y --no-install-recommends)", text) == []
    assert text.count("apt-get update") == text.count("rm -rf /var/lib/apt/lists/*")


def test_versions_are_those_of_the_package():
    for path in DOCKERFILES:
        assert re.findall(r"^ARG VERSION=(.*)$", path.read_text(), re.MULTILINE) == [tlee.__version__]
    for path in COMPOSES:
        assert f"tlee:{tlee.__version__}-{path.name.split('.')[1]}" in path.read_text()


def test_scripts_can_be_executed_where_they_are_copied():
    for path in DOCKER.glob("*.sh"):
        assert path.stat().st_mode & 0o111 == 0o111, path


@of(COMPOSES)
def test_a_compose_file_starts_one_service_of_its_own_image(path):
    compose = yaml.safe_load(path.read_text())
    kind = path.name.split(".")[1]
    assert set(compose) == {"services", "volumes"} and set(compose["services"]) == {"tlee"}
    service = compose["services"]["tlee"]
    assert service["build"]["context"] == ".." and service["build"]["dockerfile"] == f"docker/{kind}.Dockerfile"
    assert service.get("runtime") == (None if kind == "cpu" else "nvidia")
    targets = [target(volume) for volume in service["volumes"]]
    assert {"/bundle", "/output"} <= set(targets)
    assert [volume for volume in service["volumes"] if target(volume) == "/bundle"][0].endswith(":ro")
    for name in compose["volumes"]:
        assert any(re.match(rf"(\$\{{\w+:-)?{name}[:}}]", volume) for volume in service["volumes"]), name


@of(COMPOSES)
def test_the_environment_is_what_the_entrypoint_reads(path):
    text = path.read_text()
    environment = yaml.safe_load(text)["services"]["tlee"]["environment"]
    assert settings() >= set(environment)
    for name, value in environment.items():
        assert value.startswith(f"${{{name}:-"), value
    assert set(re.findall(r"\$\{(\w+)", text)) <= HOST | settings()


def test_the_key_that_engines_are_signed_with_outlives_a_container_apart_from_them():
    for path in DOCKERFILES:
        assert " TLEE_ENGINE_KEY=/key/engine.key" in joined(path) and " /key " in joined(path)
    for path in COMPOSES:
        compose = yaml.safe_load(path.read_text())
        places = {target(volume): volume.split(":")[0] for volume in compose["services"]["tlee"]["volumes"]}
        if "/engines" in places:
            assert places["/key"] == "key" != places["/engines"] and "key" in compose["volumes"]


@of(COMPOSES)
def test_settings_are_documented(path):
    readme = (DOCKER / "README.md").read_text()
    for name in set(re.findall(r"\$\{(\w+)", path.read_text())):
        assert f"`{name}`" in readme, name


@of(COMPOSES)
def test_what_a_machine_may_not_have_does_not_keep_it_from_starting(path):
    """Docker refuses a device that is missing, and makes a folder in place of a socket that is missing."""
    service = yaml.safe_load(path.read_text())["services"]["tlee"]
    for entry in service["devices"]:
        assert entry.startswith("${VIDEO_DEVICE:-/dev/null}:")
    sources = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0] for volume in service["volumes"]]
    absolute = {source for source in sources if source.startswith("/")}
    assert absolute <= {"/tmp", "/dev/null", "/etc/nv_tegra_release"}  # every JetPack has the last


def target(volume: str) -> str:
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[1]


@pytest.mark.full
@of([*DOCKERFILES, DOCKER / "cpu.txt", *sorted((ROOT / "install").glob("*.txt"))])
def test_pinned_python_packages_are_on_the_registry(path):
    pins = re.findall(r"(?<![\w-])([A-Za-z][\w-]*)==([\d.]+\d)", path.read_text())
    assert pins or path.suffix == ".Dockerfile"  # of which some leave all pins to these files
    for name, version in pins:
        with urllib.request.urlopen(f"https://pypi.org/pypi/{name}/json", timeout=60) as answer:
            files = json.load(answer)["releases"].get(version)
        assert files and not all(file["yanked"] for file in files), f"{name}=={version}"
