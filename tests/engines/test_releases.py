"""Which interface is chosen for which release; what each does is in test_build.py."""

import sys
from types import SimpleNamespace

import pytest

from tlee.bundle import Bundle
from tlee.engines.interface import Settings, TensorRT, _with_helpers
from tlee.engines.releases import (
    TensorRT8,
    TensorRT11,
    TensorRT82,
    TensorRTRTX,
    load,
)
from tlee.errors import UsageError


class Logger:
    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)

    def __init__(self) -> None:
        pass


def installed(monkeypatch, version: str, module: str = "tensorrt") -> None:
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(__version__=version, ILogger=Logger))


@pytest.mark.parametrize(
    "version, interface",
    [
        ("8.2.1.8", TensorRT82),
        ("8.4.1.5", TensorRT8),
        ("8.5.2.2", TensorRT8),
        ("8.6.2.3", TensorRT8),
        ("10.3.0", TensorRT),
        ("10.16.1", TensorRT),
        ("11.0.0", TensorRT11),
    ],
)
def test_each_release_has_its_interface(monkeypatch, version, interface):
    installed(monkeypatch, version)
    release = load("tensorrt")
    assert type(release) is interface and release.notes == [] and release.name == f"TensorRT {version}"


def test_a_release_that_is_too_old_is_one_line(monkeypatch):
    installed(monkeypatch, "7.1.3.0")
    with pytest.raises(
        UsageError, match=r"^tensorrt: release 7\.1\.3\.0, the oldest that is supported is 8\.2; .*JetPack"
    ):
        load("tensorrt")


@pytest.mark.parametrize("version", ["9.3.0", "10.0.1"])
def test_a_release_between_those_that_are_supported_is_one_line(monkeypatch, version):
    installed(monkeypatch, version)
    problem = f"tensorrt: release {version}, supported are 8.2 to 8.6, and 10.1 and later; install one of these"
    with pytest.raises(UsageError) as caught:
        load("tensorrt")
    assert str(caught.value) == problem


def test_a_newer_release_is_tried_with_the_newest_interface_and_said_to_be_new(monkeypatch):
    installed(monkeypatch, "12.1.0")
    release = load("tensorrt")
    assert type(release) is TensorRT11
    assert release.notes == [
        "TensorRT 12.1.0 is newer than the newest known here, 11: built with the interface of that one"
    ]


def test_tensorrt_rtx_is_a_target_of_its_own(monkeypatch):
    installed(monkeypatch, "1.7.1", "tensorrt_rtx")
    assert type(load("rtx")) is TensorRTRTX


def test_type_stubs_alone_are_not_taken_for_tensorrt(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace())
    with pytest.raises(UsageError, match="^tensorrt: not installed"):
        load("tensorrt")


def test_layers_that_the_parser_adds_belong_to_the_parts_that_they_serve(exported):
    release = load("rtx")  # NVIDIA's own parser, which gives helpers names of its own
    builder = release.trt.Builder(release._log)
    network = release._network(builder, Bundle.open(exported).read("exit0"))
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    delicate, branch = _with_helpers(layers, ("frm/", "head/", "gate/")), _with_helpers(layers, ("branch0/",))
    assert any("/" not in layer.name for layer in delicate)
    assert {layer.name.split("/")[0] for layer in delicate if "/" in layer.name} == {"frm", "head", "gate"}
    named = {layer.name for layer in layers if "/" in layer.name}
    assert named == {layer.name for layer in (*delicate, *branch) if "/" in layer.name}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_engines_for_several_videos_are_built_of_every_form(exported, precision):
    release, bundle = load("rtx"), Bundle.open(exported)
    for name in ("split0", "exit0"):
        assert release.build(bundle.read(name, precision), Settings(1 << 30, batch=4)).engine.nbytes > 0


@pytest.mark.parametrize(
    "batch, first, profiles", [(1, {"x0": 1, "position": 1}, 0), (4, {"x0": -1, "position": -1}, 1)]
)
def test_only_engines_for_several_videos_leave_their_number_open(exported, batch, first, profiles):
    release = load("rtx")
    builder = release.trt.Builder(release._log)
    network = release._network(builder, Bundle.open(exported).read("exit0"))
    config = builder.create_builder_config()
    release._set_sizes(builder, config, network, Settings(1 << 30, batch=batch))
    found = {network.get_input(i).name: network.get_input(i).shape[0] for i in range(network.num_inputs)}
    assert found == {**first, "previous": first["x0"], "temperature": 1}
    assert config.num_optimization_profiles == profiles
