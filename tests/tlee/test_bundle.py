"""A bundle is refused when it is not what its manifest says."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tlee.bundle import READ_AGAIN, SEPARATE, Bundle
from tlee.errors import BundleError, UsageError
from tlee.export.bundle_writer import amend_bundle, write_bundle
from tlee.manifest import MANIFEST

TWO_EXITS = {"first": [0.5] * 2, "layer": [0.5] * 2, "gate": [0.5] * 2, "temperature": [1.0] * 2}  # a small model has 3
POINT = {"thresholds": TWO_EXITS, "measured": {"top1": 0.9, "top1_interval": [0.8, 1.0], "share_of_macs": 0.2}}
TAIL = {"file": "variants/tail.onnx", "cache": "variants/tail.cache"}
INT8 = {"graphs": {"tail": TAIL}, "excluded": [], "made": {}}


@pytest.fixture
def copy(small_bundle, tmp_path):
    return shutil.copytree(small_bundle, tmp_path / "copy.tlee")


def edit(bundle, change):
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def refuse(bundle, match):
    with pytest.raises(BundleError, match=match) as caught:
        Bundle.open(bundle).verify()
    assert "\n" not in str(caught.value) and str(bundle) in str(caught.value)


def test_a_sound_bundle_opens(small_bundle):
    bundle = Bundle.open(small_bundle)
    bundle.verify()
    assert bundle.labels == ["walk", "run", "jump"]
    assert bundle.frames.length == 4
    assert bundle.exits == 3
    assert bundle.segments["frm"].inputs == ["feature", "previous"]
    assert bundle.fused_exits["exit2"].segments == ["tail", "frm", "head", "gate"]
    assert bundle.fused_exits["exit2"].inputs == ["x2", "previous", "position", "temperature"]


def test_frames_are_sampled_as_the_manifest_says_or_as_asked(copy):
    edit(copy, lambda manifest: manifest["frames"].update(sampling="keyframes"))
    bundle = Bundle.open(copy)
    assert bundle.frames.sampling == "keyframes" and bundle.frames.any_order  # its feature reuse is `max`
    assert bundle.sampled(None) is bundle
    other = bundle.sampled("uniform")
    assert (other.frames.sampling, bundle.frames.sampling) == ("uniform", "keyframes")
    assert other.read("tail") == bundle.read("tail")


def test_a_unit_is_a_graph_like_a_segment(small_bundle):
    bundle = Bundle.open(small_bundle)
    assert bundle.graph("exit1") is bundle.fused_exits["exit1"] and bundle.graph("tail") is bundle.segments["tail"]
    assert bundle.graph("tail").segments == ["tail"]
    assert bundle.read("exit1") == (small_bundle / "fused_exits" / "exit1.onnx").read_bytes()
    parts = [bundle.segments[name] for name in bundle.fused_exits["exit1"].segments]
    assert bundle.fused_exits["exit1"].macs == sum(part.macs for part in parts)
    assert bundle.fused_exits["exit1"].nodes == sum(part.nodes for part in parts) + 2


def test_the_chain_is_splits_and_units_or_all_segments(small_bundle):
    bundle = Bundle.open(small_bundle)
    assert bundle.chain() == ["split0", "split1", "split2", "exit0", "exit1", "exit2"]
    separate = bundle.chain(SEPARATE)
    assert separate[:3] == ["split0", "split1", "split2"] and sorted(separate) == sorted(bundle.segments)


def test_a_missing_file_is_named(copy):
    (copy / "segments" / "tail.onnx").unlink()
    refuse(copy, "segments/tail.onnx: missing")


def test_an_altered_file_is_named_even_if_its_size_is_the_same(copy):
    content = bytearray((copy / "segments" / "head.onnx").read_bytes())
    content[100] ^= 1
    (copy / "segments" / "head.onnx").write_bytes(bytes(content))
    refuse(copy, "segments/head.onnx: altered")
    with pytest.raises(BundleError, match="altered"):
        Bundle.open(copy).read("head")


def test_a_truncated_file_is_named(copy):
    with open(copy / "segments" / "head.onnx", "r+b") as stream:
        stream.truncate(10)
    refuse(copy, "segments/head.onnx: 10 bytes, the manifest says")


def test_an_extra_file_is_named(copy):
    (copy / "segments" / "more.onnx").write_bytes(b"x")
    refuse(copy, "segments/more.onnx: not listed")


def test_engines_built_on_the_device_are_no_extra_files(copy):
    (copy / "engines" / "nano").mkdir(parents=True)
    (copy / "engines" / "nano" / "split0.plan").write_bytes(b"x")
    Bundle.open(copy).verify()


def test_another_format_is_refused(copy):
    edit(copy, lambda m: m.update(format=3))
    refuse(copy, "format 3, this release reads 8")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"x"', "{}", "[" * 100000])
def test_broken_json_is_refused(copy, text):
    (copy / MANIFEST).write_text(text)
    refuse(copy, "not readable as JSON|not the manifest")


def test_bytes_that_are_no_text_are_refused(copy):
    (copy / MANIFEST).write_bytes(b"\xff\xfe\x00")
    refuse(copy, "not readable as JSON")


@pytest.mark.parametrize("path", ["../outside.onnx", "/etc/hostname", "segments/../../outside.onnx", "./a.onnx"])
def test_a_path_that_leaves_the_bundle_is_refused(copy, path):
    (copy.parent / "outside.onnx").write_bytes(b"x")
    edit(copy, lambda m: m["files"].update({path: {"size": 1, "sha256": "0" * 64}}))
    refuse(copy, "leaves the bundle")


@pytest.mark.parametrize("place", ["segments/tail.onnx", "a", "engines", "segments/a", "engines/a/b", "manifest.json"])
def test_links_are_refused(copy, place):
    target, link = copy.parent / "elsewhere", copy / place
    link.parent.mkdir(exist_ok=True, parents=True)
    if link.exists():
        shutil.move(link, target)
    else:
        target.mkdir()
    link.symlink_to(target)
    refuse(copy, f"{place}: (a link; put the file itself there, or remove it|Too many levels of symbolic links)")


def test_pipes_and_depths_are_refused(copy):
    os.mkfifo(copy / "segments" / "pipe")
    refuse(copy, "segments/pipe: not a plain file")
    (copy / "segments" / "pipe").unlink()
    (copy / "engines" / "/".join("x" * 20)).mkdir(parents=True)
    refuse(copy, "more files or folders than any bundle has")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", ""])
def test_what_can_be_no_folder_is_no_bundle(name):
    with pytest.raises(BundleError, match="not a name that a folder can have|no such bundle"):
        Bundle.open(name)


def test_empty_folders_are_counted(copy, monkeypatch):
    monkeypatch.setattr("tlee.bundle.MAX_ENTRIES", 200)
    for number in range(200):
        (copy / "engines" / str(number)).mkdir(parents=True)
    refuse(copy, "more files or folders than any bundle has")


def test_the_hash_of_a_large_file_that_is_no_graph_does_not_matter(copy):
    """A sparse file costs whoever writes a bundle nothing, and whoever reads it minutes."""
    os.truncate(copy / "segments" / "head.onnx", READ_AGAIN + 1)
    files = {"segments/head.onnx": {"size": READ_AGAIN + 1, "sha256": "0" * 64}}
    edit(copy, lambda m: m["files"].update(files))
    refuse(copy, "head.onnx: not a graph that tlee-export writes")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m.pop("segments"), "segments"),
        (lambda m: m["segments"].pop("split0"), "split0"),
        (lambda m: m["segments"].pop("branch1"), "segment branch1 is missing"),
        (lambda m: m["segments"].pop("head"), "head"),
        (
            lambda m: m["model"].update(heads="per_frame"),
            "heads are per_frame, but the head",
        ),
        (lambda m: m["model"].update(labels=["a"]), "1 labels for 3 classes"),
        (lambda m: m["frames"].update(order=[0, 0, 1, 2]), "no permutation"),
        (lambda m: m["frames"].update(interpolation="cubic"), "interpolation"),
        (lambda m: m["frames"].update(sampling="random"), "sampling"),
        (lambda m: m["frames"].pop("sampling"), "sampling"),
        (lambda m: m["exit_rule"]["thresholds"].update(layer=[0.5]), "another number of exits"),
        (lambda m: m["segments"]["tail"].update(file="segments/none.onnx"), "not among the files"),
        (lambda m: m["files"]["segments/tail.onnx"].update(sha256="abc"), "sha256"),
        (lambda m: m["exits"][1].update(macs=5), "the costs of the exits are not those of the segments"),
        (lambda m: m["exit_rule"]["thresholds"].update(temperature=[1.0, 0.0, 1.0]), "temperature"),
        (lambda m: m["exit_rule"]["operating_points"].update(x=POINT), "number of exits"),
        (lambda m: m["variants"].update(int4=INT8), "int4|propertyNames|variants"),
        (
            lambda m: m["variants"].update(int8={**INT8, "excluded": ["neck"]}),
            "a variant of neck, but no such segment or fused exit",
        ),
        (lambda m: m["variants"].update(int8=INT8), "variants/tail.onnx is not among the files"),
        (lambda m: m["variants"].update(int8={**INT8, "graphs": {"head": TAIL}}), "head, which has to stay in float32"),
        (lambda m: m["variants"].update(int8={**INT8, "graphs": {"tail": {"file": "a"}}}), "int8 has no cache"),
        (lambda m: m["fused_exits"].pop("exit1"), "the fused exits are not those of the segments"),
        (
            lambda m: m["fused_exits"]["exit0"].update(segments=["branch1", "head"]),
            "the fused exits are not those of the segments",
        ),
        (
            lambda m: m["fused_exits"]["exit2"].update(file="fused_exits/none.onnx"),
            "fused_exits/none.onnx is not among the files",
        ),
        (lambda m: m["activations"].update(samples=0), "samples"),
        (lambda m: m.update(surprise=1), "surprise|additional"),
    ],
)
def test_a_manifest_that_does_not_hold_together_is_refused(copy, change, match):
    edit(copy, change)
    refuse(copy, match)


def test_no_bundle_at_all(tmp_path):
    refuse(tmp_path / "none.tlee", "no such bundle")
    refuse(tmp_path, "not a bundle")


def test_an_unknown_operating_point_is_refused(small_bundle):
    with pytest.raises(UsageError, match="no operating point 'fast'; choose of: none"):
        Bundle.open(small_bundle).thresholds("fast")


def with_int8_tail(path, kept=()):
    """Adds an INT8 form of the tail, made of another graph's bytes."""
    bundle = Bundle.open(path)
    with amend_bundle(bundle) as writer:
        writer.add("variants/tail.onnx", bundle.read("branch0"))
        writer.add("variants/tail.cache", b"cache")
        writer.finish({**bundle.manifest, "variants": {"int8": {**INT8, "excluded": list(kept)}}})
    return Bundle.open(path)


def test_a_variant_is_read_where_it_has_a_form_and_the_plan_uses_it(copy):
    exported = Bundle.open(copy).read("tail")
    with pytest.raises(UsageError, match="has no int8 variant; make it with tlee-calibrate"):
        Bundle.open(copy).read("tail", "int8")
    bundle = with_int8_tail(copy)
    assert (bundle.read("tail"), bundle.read("tail", "int8")) == (exported, bundle.read("branch0"))
    assert bundle.read("head", "int8") == bundle.read("head") and bundle.read("exit2", "int8") == bundle.read("exit2")
    assert (
        bundle.variant("tail", "int8") == TAIL
        and bundle.variant("head", "int8") is bundle.variant("tail", "fp32") is None
    )
    with pytest.raises(UsageError, match="has no fp16 variant; make it with tlee-export --variants fp16"):
        bundle.read("tail", "fp16")
    assert with_int8_tail(copy, kept=["tail"]).read("tail", "int8") == exported


def test_amending_keeps_what_a_device_built(copy):
    (copy / "engines").mkdir()
    (copy / "engines" / "split0.plan").write_bytes(b"x")
    with_int8_tail(copy).verify()
    assert (copy / "engines" / "split0.plan").read_bytes() == b"x"


def test_amending_replaces_the_files_of_a_folder(copy):
    bundle = with_int8_tail(copy)
    with amend_bundle(bundle) as writer:
        writer.remove("variants")
        writer.finish({**bundle.manifest, "variants": {}})
    Bundle.open(copy).verify()
    assert not (copy / "variants").exists()


def test_a_failed_amendment_changes_nothing(copy):
    before = sorted((path, path.read_bytes()) for path in copy.rglob("*") if path.is_file())
    with pytest.raises(BundleError, match="not among the files"), amend_bundle(Bundle.open(copy)) as writer:
        writer.add("variants/tail.onnx", b"int8")
        writer.finish({**Bundle.open(copy).manifest, "variants": {"int8": INT8}})
    assert sorted((path, path.read_bytes()) for path in copy.rglob("*") if path.is_file()) == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_bundle_that_changed_meanwhile_is_not_amended(copy):
    bundle = Bundle.open(copy)
    with_int8_tail(copy)
    with pytest.raises(BundleError, match="changed since it was opened"), amend_bundle(bundle):
        pytest.fail("amended")


def test_a_failed_writing_leaves_nothing(tmp_path):
    with pytest.raises(BundleError, match="not a valid manifest"), write_bundle(str(tmp_path / "a.tlee")) as writer:
        writer.add("segments/x.onnx", b"x")
        writer.finish({})
    assert os.listdir(tmp_path) == []


def test_what_is_no_bundle_is_never_replaced(tmp_path):
    (tmp_path / "precious").mkdir()
    with pytest.raises(UsageError, match="is no bundle"), write_bundle(str(tmp_path / "precious"), replace=True):
        pass
    assert (tmp_path / "precious").is_dir()


def test_info_shows_every_segment_and_checks_the_content(copy):
    from tlee.info import main

    run = [sys.executable, "-c", f"import sys; from {main.__module__} import main; main()", str(copy)]
    shown = subprocess.run(run, capture_output=True, text=True)
    assert shown.returncode == 0 and shown.stderr == ""
    assert all(
        name in shown.stdout
        for name in (
            "split2",
            "branch1",
            "tail",
            "frm",
            "head",
            "gate",
            "exit1",
            "4 steps recorded",
            "verified: 4 clips",
        )
    )
    (copy / "segments" / "extra").write_bytes(b"")
    failed = subprocess.run(run, capture_output=True, text=True)
    assert failed.returncode == 2 and failed.stdout == "" and failed.stderr.count("\n") == 1


def test_the_cost_of_an_exit_is_all_that_has_run_when_a_frame_leaves_there(small_bundle):
    bundle = Bundle.open(small_bundle)
    macs = {name: segment.macs for name, segment in bundle.segments.items()}
    shared = macs["head"] + macs["frm"] + macs["gate"]
    backbone = [macs["split0"], macs["split0"] + macs["split1"], macs["split0"] + macs["split1"] + macs["split2"]]
    exits = bundle.manifest["exits"]
    assert [costs["segment"] for costs in exits] == ["branch0", "branch1", "tail"]
    assert [costs["backbone_macs"] for costs in exits] == backbone
    assert exits[0]["macs"] == backbone[0] + macs["branch0"] + shared
    assert exits[2]["macs"] == backbone[2] + macs["branch0"] + macs["branch1"] + macs["tail"] + 3 * shared
    assert exits[2]["parameters"] == sum(segment.parameters for segment in bundle.segments.values())
