"""Bundles that somebody damaged, wrote to deceive, amends at the same time, or was killed while writing."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.mutations import as_json, mutations, of_bytes, of_value

import tlee.locks
import tlee.reports.atomic_folder
from tlee.bundle import Bundle
from tlee.errors import TleeError, UsageError
from tlee.export.bundle_writer import amend_bundle, write_bundle
from tlee.info import describe
from tlee.manifest import MANIFEST
from tlee.reading import read_json
from tlee.runtime import Recognizer

QUICK, FULL = 40, 2000  # mutations of each kind
WRITER = """
import random, sys, time
import tlee.reports.atomic_folder
from tlee.bundle import Bundle
from tlee.export.bundle_writer import amend_bundle
from tlee.errors import TleeError
path, name, count, said = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if said:
    tlee.reports.atomic_folder._renameat2 = lambda new, place: said
busy = 0
for i in range(count):
    while True:
        bundle = None
        try:
            bundle = Bundle.open(path)
            rule = bundle.manifest["exit_rule"]
            points = dict(rule["operating_points"])
            points[f"{name} {i}"] = {
                "thresholds": rule["thresholds"],
                "measured": {"top1": 0.5, "top1_interval": [0.4, 0.6], "share_of_macs": 0.5},
            }
            with amend_bundle(bundle) as writer:
                writer.add("calibration/" + name + ".txt", str(i).encode())
                writer.finish({**bundle.manifest, "exit_rule": {**rule, "operating_points": points}})
            break
        except TleeError as error:
            assert "another command is writing it" in str(error) or "changed since" in str(error), error
            busy += 1
            time.sleep(random.random() / 20)  # two that never rest starve each other on a slow disk
print(busy)
"""


@pytest.fixture
def copy(small_bundle, tmp_path):
    return Path(shutil.copytree(small_bundle, tmp_path / "copy.tlee"))


def use(path):
    """All that reads a manifest, but engines."""
    bundle = Bundle.open(path)
    bundle.verify()
    describe(bundle)
    frames = np.zeros((bundle.frames.length, bundle.frames.crop, bundle.frames.crop, 3), np.uint8)
    with Recognizer.load(bundle, backend="cpu") as recognizer:
        recognizer.recognize(frames)


def damage(copy, count, seed):
    good = json.loads((copy / MANIFEST).read_text())
    refused = 0
    for base, kind in ((good, of_value), (json.dumps(good).encode(), of_bytes)):
        for mutated in mutations(base, kind, count, seed):
            (copy / MANIFEST).write_bytes(as_json(mutated) if kind is of_value else mutated)
            try:
                use(copy)
            except TleeError as error:
                refused += 1
                assert "\n" not in str(error) and len(str(error)) < 2000
    return refused / (2 * count)


def test_a_damaged_manifest_is_refused_in_a_line_or_does_no_harm(copy):
    assert 0.7 < damage(copy, QUICK, seed=0) < 1


@pytest.mark.full
def test_thousands_of_damaged_manifests_are_refused_in_a_line_or_do_no_harm(copy):
    assert 0.7 < damage(copy, FULL, seed=1) < 1


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 7, "a": ' + "9" * 100000 + "}",
        '{"format": 7, "a": 1e999}',
        '{"format": 7, "a": "\\ud800"}',
        '{"format": 7, "a": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"format": 7, "a": ' + '{"a":' * 900 + "1" + "}" * 900 + "}",
        '{"format": 7, "a": 1, "b": {}, "a": 1}',
    ],
    ids=["digits", "infinite", "surrogate", "deep", "almost too deep", "a key twice"],
)
def test_odd_json_is_refused(copy, text):
    (copy / MANIFEST).write_text(text)
    with pytest.raises(TleeError, match="manifest.json"):
        Bundle.open(copy)


def test_a_manifest_of_gigabytes_is_not_read(copy):
    os.truncate(copy / MANIFEST, 40 << 30)
    with pytest.raises(TleeError, match="42,949,672,960 bytes, more than"):
        Bundle.open(copy)


def edit(copy, change):
    manifest = json.loads((copy / MANIFEST).read_text())
    change(manifest)
    (copy / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["model"].update(branches=10**12), "more than 32"),
        (lambda m: m["frames"].update(count=10**12), "more than 10000"),
        (lambda m: m["frames"].update(crop=2**30, resize=2**30), "more than 4096"),
        (lambda m: m["model"].update(labels=["a", "b", "\x1b[2Jc"]), r"control characters in '\\x1b\[2Jc'"),
        (lambda m: m["model"].update(name="a\nb"), "control characters"),
        (lambda m: m["provenance"].update({"\u202e": 1}), "control characters"),
        (lambda m: m["segments"]["split1"]["outputs"][0].update(shape=[1, 10**6, 10**6, 10**6]), "numbers"),
        (lambda m: m["segments"]["split1"]["outputs"][0].update(name="x7"), "the outputs of split1 are x7"),
        (lambda m: m["segments"]["head"]["outputs"][0].update(shape=[1, 99]), "the outputs of head are logits"),
        (lambda m: m["fused_exits"]["exit1"]["inputs"].pop(), "the inputs of exit1 are"),
        (
            lambda m: m["files"].update({"engines/a": {"size": 1, "sha256": "0" * 64}}),
            "listed among the files",
        ),
        (lambda m: m["files"].update({"a b": {"size": 1, "sha256": "0" * 64}}), "no plain one"),
        (lambda m: [e.update(backbone_macs=0) for e in m["exits"]], "costs"),
    ],
)
def test_what_no_export_writes_is_refused(copy, change, said):
    edit(copy, change)
    with pytest.raises(TleeError, match=said):
        Bundle.open(copy)


WAYS = {  # what the kernel says to exchanging two names, or None where it can
    "exchanged": None,
    "renamed twice": errno.EINVAL,
    "a mount point": errno.EBUSY,
}


def together(copy, count, way):
    """Two writers and a reader at once."""
    start, more = [sys.executable, "-c", WRITER, copy], [str(count), str(WAYS[way] or 0)]
    writers = [subprocess.Popen([*start, name, *more], stdout=subprocess.PIPE, text=True) for name in ("one", "two")]
    reads = 0
    while any(writer.poll() is None for writer in writers):
        Bundle.open(copy).verify()
        reads += 1
    assert [writer.wait() for writer in writers] == [0, 0] and reads > 0
    for writer in writers:
        writer.stdout.close()
    points = Bundle.open(copy).manifest["exit_rule"]["operating_points"]
    assert sorted(points) == sorted(f"{name} {i}" for name in ("one", "two") for i in range(count))
    with amend_bundle(Bundle.open(copy)) as writer:
        writer.finish(Bundle.open(copy).manifest)
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def amended(path, name):
    bundle = Bundle.open(path)
    points = {name: {"thresholds": bundle.manifest["exit_rule"]["thresholds"], "measured": MEASURED}}
    with amend_bundle(bundle) as writer:
        writer.add(f"calibration/{name}.txt", name.encode())
        writer.finish({**bundle.manifest, "exit_rule": {**bundle.manifest["exit_rule"], "operating_points": points}})


MEASURED = {"top1": 0.5, "top1_interval": [0.4, 0.6], "share_of_macs": 0.5}


def prepare(monkeypatch, way):
    if WAYS[way]:
        monkeypatch.setattr(tlee.reports.atomic_folder, "_renameat2", lambda new, place: WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_a_bundle_is_amended_on_every_file_system(copy, monkeypatch, way):
    prepare(monkeypatch, way)
    (copy / "engines" / "here").mkdir(parents=True)
    (copy / "engines" / "here" / "a.engine").write_text("kept")
    before = copy.stat().st_ino
    amended(copy, "fast")
    after = copy.stat().st_ino  # a later folder may have the first one's number again
    amended(copy, "slow")
    Bundle.open(copy).verify()
    assert list(Bundle.open(copy).manifest["exit_rule"]["operating_points"]) == ["slow"]
    assert (copy / "engines" / "here" / "a.engine").read_text() == "kept"
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    assert not [path for path in copy.iterdir() if path.name.startswith(".")]
    assert (after == before) == (way == "a mount point")


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS])
def test_a_bundle_in_a_folder_that_may_not_be_written_is_amended_inside(copy, monkeypatch, error):
    access, before = os.access, copy.stat().st_ino
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(copy.parent) and access(path, mode))
    monkeypatch.setattr(tlee.reports.atomic_folder, "_renameat2", lambda new, place: error)
    amended(copy, "fast")
    assert list(Bundle.open(copy).manifest["exit_rule"]["operating_points"]) == ["fast"]
    assert copy.stat().st_ino == before and [path.name for path in copy.parent.iterdir()] == [copy.name]
    assert not [path for path in copy.iterdir() if path.name.startswith(".")]


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


@pytest.mark.parametrize("stride", [23, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("way", WAYS)
def test_an_amendment_killed_at_any_step_is_done_or_undone(copy, monkeypatch, way, stride):
    """After each system call that changes something, as if the process were killed there; or after some."""
    prepare(monkeypatch, way)
    calls, fatal = 0, 0
    died = False

    def counted(function):
        def call(*arguments, **keywords):
            nonlocal calls, died
            if died:
                raise Killed
            result = function(*arguments, **keywords)
            calls += 1
            died = calls == fatal
            if died:
                raise Killed
            return result

        return call

    pristine = copy.parent / "pristine"
    shutil.copytree(copy, pristine)
    while True:
        fatal += stride
        calls, died = 0, False
        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "unlink", "link", "mkdir", "rmdir"):
                patch.setattr(os, name, counted(getattr(os, name)))
            patch.setattr(tlee.reports.atomic_folder, "_renameat2", counted(tlee.reports.atomic_folder._renameat2))
            patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
            try:
                amended(copy, "fast")
            except (Killed, UsageError):
                assert died
        tlee.locks._locked.clear()  # its locks went with it
        found = Bundle.open(copy)
        found.verify()
        assert list(found.manifest["exit_rule"]["operating_points"]) in ([], ["fast"])
        del found
        amended(copy, "next")
        assert list(Bundle.open(copy).manifest["exit_rule"]["operating_points"]) == ["next"]
        assert sorted(path.name for path in copy.parent.iterdir()) == [copy.name, "pristine"]
        assert not [path for path in copy.iterdir() if path.name.startswith(".")]
        if not died:
            break
        shutil.rmtree(copy)
        shutil.copytree(pristine, copy)
    assert fatal > 40  # there are some two hundred


@pytest.mark.parametrize(("way", "count"), [("exchanged", 6), ("renamed twice", 3), ("a mount point", 3)])
def test_no_amendment_is_lost_and_readers_always_see_a_whole_bundle(copy, way, count):
    together(copy, count, way)


@pytest.mark.full
@pytest.mark.parametrize(("way", "count"), [("exchanged", 400), ("renamed twice", 200), ("a mount point", 100)])
def test_no_amendment_is_lost_in_a_minute(copy, way, count):
    together(copy, count, way)


def test_files_are_not_replaced_while_somebody_reads_them(copy, monkeypatch):
    prepare(monkeypatch, "a mount point")
    reader, waited = Bundle.open(copy), []

    def wait(seconds):
        waited.append(seconds)
        reader.verify()
        reader.release()

    monkeypatch.setattr(tlee.locks.time, "sleep", wait)
    amended(copy, "fast")
    assert len(waited) == 1


def test_a_reader_who_never_ends_does_not_stop_a_writer(copy, monkeypatch):
    prepare(monkeypatch, "a mount point")
    monkeypatch.setattr(tlee.locks, "READING", 0)
    reader = Bundle.open(copy)
    amended(copy, "fast")
    assert list(Bundle.open(copy).manifest["exit_rule"]["operating_points"]) == ["fast"]
    reader.release()


def test_a_bundle_that_is_absent_for_a_moment_is_waited_for(copy, monkeypatch):
    real, tries = Bundle._open, []

    def between_two_renames(path):
        tries.append(path)
        if len(tries) == 1:
            copy.rename(copy.parent / ".copy.tlee.tlee-old")
        return real(path)

    monkeypatch.setattr(Bundle, "_open", between_two_renames)
    monkeypatch.setattr("tlee.bundle._state", lambda path: None)  # as it is there before and after
    Bundle.open(copy).verify()
    assert len(tries) == 2


def test_a_bundle_that_comes_back_is_not_replaced_unasked(copy):
    copy.rename(copy.parent / ".copy.tlee.tlee-old")  # as a writer that was killed between two renames leaves it
    with pytest.raises(UsageError, match="exists already"), write_bundle(copy):
        pass
    Bundle.open(copy).verify()
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


@pytest.mark.parametrize("where", ["ready", "outside", "inside"])
def test_what_came_with_a_bundle_is_never_written_through_links(copy, where):
    """A folder of what is to be finished, as a writer leaves it that was killed, could name any place."""
    home = copy.parent / "home"
    home.mkdir()
    (home / "key").write_text("mine")
    before = sorted(path.name for path in copy.iterdir())
    if where == "ready":  # what is there would be taken into the bundle
        (copy / ".tlee.ready").symlink_to(home)
    else:  # what is in the bundle would be put there
        (copy / ".tlee.ready" / "a").mkdir(parents=True)
        (copy / ".tlee.ready" / "a" / "key").write_text("theirs")
        (copy / ("a" if where == "outside" else ".tlee.ready/b")).symlink_to(home)
    try:
        Bundle.open(copy)
    except TleeError as error:
        assert where == "outside" and "a: a link" in str(error)
    assert (home / "key").read_text() == "mine" and os.listdir(home) == ["key"]
    assert [name for name in before if not (copy / name).exists()] == []


def test_a_bundle_that_is_read_stays_whole_when_it_is_replaced(copy):
    reader = Bundle.open(copy)
    amended(copy, "fast")
    shutil.rmtree(copy / "segments")
    reader.verify()
    assert len(list(copy.parent.iterdir())) == 2  # what it reads is kept
    del reader
    shutil.copytree(copy, copy.parent / "other")  # something else beside it
    with tlee.locks.write_lock(str(copy), folder=True):
        pass
    assert sorted(path.name for path in copy.parent.iterdir()) == ["copy.tlee", "other"]


def test_a_graph_is_checked_again_when_it_is_read_for_whatever_purpose(copy):
    """What opening saw may not be there any more: hashes are the writer's own."""
    opened, file = Bundle.open(copy), "segments/tail.onnx"
    (copy / file).write_bytes(b"\x08" * opened.manifest["files"][file]["size"])
    opened.manifest["files"][file]["sha256"] = hashlib.sha256((copy / file).read_bytes()).hexdigest()
    for read in (lambda: opened.read("tail"), lambda: opened.read_file(file)):
        with pytest.raises(TleeError, match="tail.onnx: not a graph that tlee-export writes"):
            read()


def test_a_bundle_is_amended_through_a_link(copy):
    link = copy.parent / "link.tlee"
    link.symlink_to(copy)
    amended(link, "fast")
    assert link.is_symlink() and list(Bundle.open(copy).manifest["exit_rule"]["operating_points"]) == ["fast"]


def test_only_one_process_writes_a_bundle(copy):
    code = (
        "import sys; from tlee.bundle import *; from tlee.export.bundle_writer import *; b = Bundle.open(sys.argv[1])\n"
        "with amend_bundle(b) as w: print(1, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(copy)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        other.stdout.readline()
        with pytest.raises(UsageError, match="copy.tlee: another command is writing it; wait until that has ended"):
            amended(copy, "fast")
        Bundle.open(copy).verify()  # reading goes on
    finally:
        other.communicate()
    amended(copy, "fast")


def bind_mounts():
    """Whether this user may mount; containers and most machines of continuous integration say no."""
    return shutil.which("unshare") and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not bind_mounts(), reason="mounting needs root")
def test_what_is_mounted_is_amended_inside(tmp_path, small_bundle):
    """As a container has it: a file and a bundle of the host's, neither of which can be renamed."""
    host, container = tmp_path / "host", tmp_path / "container"
    host.mkdir()
    container.mkdir()
    (host / "r.json").write_text("old")
    shutil.copytree(small_bundle, host / "b.tlee")
    (container / "r.json").touch()
    (container / "b.tlee").mkdir()
    (tmp_path / "work.py").write_text(
        "import sys\n"
        "from test_bundle_faults import amended\n"
        "from tlee.files import write_json\n"
        "write_json(sys.argv[1] + '/r.json', {'new': 1})\n"
        "amended(sys.argv[1] + '/b.tlee', 'fast')\n"
        "amended(sys.argv[1] + '/b.tlee', 'slow')\n"
    )
    mounts = " && ".join(f"mount --bind {host}/{name} {container}/{name}" for name in ("r.json", "b.tlee"))
    script = f"{mounts} && exec {sys.executable} {tmp_path}/work.py {container}"
    tests = os.path.dirname(__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.path.dirname(tests)])}
    run = subprocess.run(["unshare", "-m", "sh", "-c", script], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert read_json(str(host / "r.json")) == {"new": 1}
    Bundle.open(host / "b.tlee").verify()
    assert list(Bundle.open(host / "b.tlee").manifest["exit_rule"]["operating_points"]) == ["slow"]
    assert not [path for place in (host / "b.tlee", host, container) for path in place.glob(".*")]
