"""Every command and every piece of Python that the documents show works, in the order in which they show them.

Nothing here is a list of commands: whatever a document says is run. `tlee-*` and Python run in this process, all else
in a shell. What is not here is replaced:

- a board, by the doubles of its TensorRT and CUDA, and a camera, by a video;
- other machines, root's rights, package managers, Docker, Slurm: by `helpers/program_doubles.py`, which checks calls:
  `pip install` finds its extras in setup.py and knows the packages; `make` says what it would do, for its targets run
  these tests; ssh and scp reach folders of the scene;
- what a reader has (clips, models, reports), by small ones of `helpers/document_inputs.py`;
- ImageNet's weights, by random ones of the same shapes.

What would take minutes is smaller, as REDUCED says.
"""

from __future__ import annotations

import importlib
import re
from typing import NamedTuple

import pytest
import torch
import torchvision
import yaml
from conftest import enliven
from helpers.document_inputs import QUICK, Supposed
from helpers.document_sandbox import DOUBLES, Scene, entered
from helpers.documents import BOARDS, DOCUMENTS, LANGUAGES, PLACE, WORKSTATION, Step, fences, quotations, steps

from tlee.engines import process, worker
from tlee.models.config import Config, validated
from tlee.training.config import TrainingConfig

SMALL_TRAINING = (
    " --set model.input_size=32 --set model.branches=1 --set model.crm_num=1 --set 'frames={count: 3, resize: 36}'"
    " --set 'stages=[{stage: joint, epochs: 1, batch: 4}]'"
)
ONE_STAGE = " --set 'stages=[{stage: frames, epochs: 1, batch: 8}]'"


class Reduction(NamedTuple):
    """What of a command line is replaced, and by what."""

    pattern: str
    by: str
    why: str


REDUCED = (
    Reduction(r"^(tlee-train (?!\S+\.yml).*)", r"\1" + SMALL_TRAINING, "the defaults train for an hour on a CPU"),
    Reduction(r"^(tlee-train examples/digits\.yml.*)", r"\1" + ONE_STAGE, "half an hour"),
    Reduction(r"^(tlee-bench .*)", r"\1 " + " ".join(QUICK), "minutes of measuring"),
    Reduction(r"^(tlee-(eval|tune|calibrate) .*)", r"\1 --workers 0", "processes that decode start for seconds"),
    Reduction(r"--train 4000 --val 500 --test 1000", "--train 40 --val 20 --test 120", "minutes of rendering"),
    Reduction(r"--train 0 --val 4000 --test 3000", "--train 0 --val 40 --test 40", "minutes of rendering"),
    Reduction(r"(?<= )/data/", "data/", "not outside the scene"),
    Reduction(r"--nproc-per-node 4", "--nproc-per-node 2", "each process holds PyTorch"),
)
# Only in `make test-all`.
SLOW = {
    r"^torchrun": "two processes that load PyTorch, and torchrun's own",
    r"^srun": "a process that loads PyTorch",
    r"--devices": "starts itself again, two processes that load PyTorch",
    r"\.pth\b": "4096 features and 101 classes, or a full MobileNetV2",
    r"^python examples/": "renders hundreds of videos, evaluates them in all modes",
}
# Seconds each: the README's are always run, those of other documents only in `make test-all`. What they would have made
# is then supposed.
HEAVY = r"^tlee-(train|export|eval|tune|calibrate) |^tlee-bench |^install/jetson.sh"
HEAVY += r"|^tlee-run build/digits.tlee examples/clips"
# In a process of its own, through a shell: what starts itself again, and of the others one that does so quickly.
ALONE = r"--devices|^tlee-info "

STEPS = [step for document in DOCUMENTS for step in steps(document)]


def parameter(step: Step):
    patterns = [*SLOW, HEAVY] if step.document != "README.md" else SLOW
    slow = step.kind == "sh" and any(re.search(pattern, step.text) for pattern in patterns)
    name = f"{step.document}:{step.line}:{step.text.splitlines()[0][:60]}"
    return pytest.param(step, id=name, marks=[pytest.mark.full] if slow else [])


def reduced(text: str) -> str:
    for pattern, by, _ in REDUCED:
        text = re.sub(pattern, by, text)
    return text


@pytest.fixture(scope="session")
def supposed(tmp_path_factory, exported) -> Supposed:
    return Supposed(tmp_path_factory.mktemp("supposed"), exported)


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory):
    """Random weights where torch.hub looks for torchvision's, under which values do not fade from layer to layer."""
    folder = tmp_path_factory.mktemp("torch")
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    file = torchvision.models.MobileNet_V2_Weights.DEFAULT.url.rsplit("/", 1)[1]
    torch.save(enliven(torchvision.models.mobilenet_v2()).state_dict(), folder / "hub" / "checkpoints" / file)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, supposed, imagenet):
    """The scene of a document, the same one for all of its steps, and the names that its Python has."""
    made: dict[str, tuple[Scene, dict]] = {}

    def of(document: str) -> tuple[Scene, dict]:
        if document not in made:
            made[document] = Scene(tmp_path_factory.mktemp("scene"), supposed, imagenet), {}
        return made[document]

    return of


@pytest.fixture(autouse=True)
def small_and_apart(monkeypatch):
    """A search need not be good; engines are built in this process."""
    search = importlib.import_module("tlee.calibration.thresholds.search")
    for name, size in {"GENERATIONS": 4, "OFFSPRING": 100, "START": 400}.items():
        monkeypatch.setattr(search, name, size)
    monkeypatch.setattr(process, "run", lambda action, folder, request, *_: worker.ACTIONS[action](folder, request))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_says_what_it_is(document):
    for line, language, _, note in fences(document):
        assert language in LANGUAGES, f"{document}:{line}: a block of '{language}'; say which of {LANGUAGES} it is"
        place = PLACE.fullmatch(note)
        assert place is None or place.group(1) in BOARDS, f"{document}:{line}: no board '{note}'"
    for (line, _, text, _), path in quotations(document):
        assert text in path.read_text(), f"{document}:{line}: {path.name} does not say so"


@pytest.mark.parametrize("step", [parameter(step) for step in STEPS])
def test_it_works_as_shown(step, scenes, load):
    scene, names = scenes(step.document)
    if step.machine != WORKSTATION:
        load(*DOUBLES[step.machine])
    with entered(scene, step.machine):
        if step.kind == "python":
            scene.suppose(step, re.findall(r'"([^"\n]+)"', step.text), [])
            exec(compile(step.text, f"{step.document}:{step.line}", "exec"), names)
        else:
            text = reduced(step.text)
            status = scene.command(step, text, process=bool(re.search(ALONE, text)))
            assert status == 0, f"{step.document}:{step.line}: {text}: status {status}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_configurations_are_valid(document):
    for line, language, text, _ in fences(document):
        if language == "yaml":
            content = yaml.safe_load(text)
            validated(f"{document}:{line}", content, TrainingConfig if "data" in content else Config)


def test_there_are_commands_of_all_kinds():
    assert {(step.kind, step.machine) for step in STEPS} >= {("sh", WORKSTATION), ("python", WORKSTATION)}
    assert {step.machine for step in STEPS} == {WORKSTATION, *BOARDS}
    assert len(STEPS) > 100


def test_every_reduction_and_mark_is_of_a_command_that_is_shown():
    shown = [step.text for step in STEPS if step.kind == "sh"]
    for pattern in [*(reduction.pattern for reduction in REDUCED), *SLOW]:
        assert any(re.search(pattern, text) for text in shown), f"no document shows '{pattern}' any more"
