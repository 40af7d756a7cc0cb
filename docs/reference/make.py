"""The Python reference, made from docstrings, signatures and the comments beside fields: `make reference`.

Nothing of tlee is imported: griffe reads the source. What is public, and in which order, stands in PAGES.
"""

import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import griffe

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
MADE = "<!-- Made by docs/reference/make.py from the docstrings; change those, then `make reference`. -->"
WIDTH = 110  # of a signature on one line
FIELDS = {"NamedTuple", "Enum", "BaseModel", "Section"}  # bases of classes whose annotations are what they hold

TITLES = {
    "parameters": "Arguments",
    "attributes": "Attributes",
    "raises": "Raises",
    "returns": "Returns",
    "yields": "Yields",
}

# By page its modules, and of each the public names.
PAGES: dict[str, dict[str, list[str]]] = {
    "tlee": {
        "bundle": ["Bundle", "Segment", "write_bundle", "amend_bundle", "BundleWriter", "exit_costs"],
        "policy": ["Thresholds", "ExitPolicy", "RandomExit", "exit_policy", "Action", "Reason", "Decision"],
        "inference": ["walk", "Step", "ExitValues", "Stages", "Walk"],
        "modes": ["policies", "fixed_exits"],
        "costs": ["Costs"],
        "frames": ["FrameSpec", "frame_order", "sample_indices", "published_numbers", "prepare", "check_clip"],
        "video": ["open_clip", "VideoFile", "PictureFolder", "sampled_order", "sampled_indices", "read_frames"],
        "errors": [
            *("TleeError", "UsageError", "InputError", "BundleError", "CheckpointError"),
            *("EngineError", "SegmentError", "VerificationError"),
        ],
    },
    "runtime": {
        "runtime.recognizer": ["Recognizer"],
        "runtime.batch": ["BatchRecognizer"],
        "runtime.results": ["Result", "Frame", "TraceStep"],
        "runtime.clips": ["Task"],
        "runtime.live": ["LiveSource", "StreamEnd"],
        "runtime.backends": ["Choice", "open_backend", "Opened"],
    },
    "engines": {
        "engines.builder": ["Builder", "Result", "find_machine"],
        "engines.planning": ["BuildOptions", "Machine", "EngineSpec", "plan"],
        "engines.store": ["EngineStore", "FileRecord", "stores"],
        "engines.key": ["key_file", "find_key", "own_key"],
        "engines.cuda": ["opened_cuda", "Cuda", "Gpu"],
    },
    "benchmarks": {
        "benchmarks.bench": ["Bench", "Plan"],
        "benchmarks.videos": ["find_videos", "synthetic_videos", "Video"],
        "benchmarks.report": ["save_report", "load_report"],
        "benchmarks.compare": ["compare"],
        "benchmarks.page": ["page", "comparison_page"],
        "benchmarks.estimate": ["estimate", "Estimate", "video_milliseconds"],
        "benchmarks.profile": ["profile", "estimated_profile"],
        "benchmarks.statistics": ["warm_up", "interval", "latency", "difference", "Difference"],
        "benchmarks.power.sources": ["open_source", "Source", "Sample"],
        "benchmarks.power.recorder": ["Recorder"],
    },
    "models": {
        "models.model": ["Tlee", "TorchStages"],
        "models.config": ["Config", "ModelConfig", "FramesConfig", "ExitConfig", "load_config"],
        "models.checkpoint": ["save_checkpoint", "load_checkpoint"],
        "models.published": ["load_published"],
        "models.published_config": ["load_model_config"],
        "models.backbones.backbone": ["Backbone"],
        "models.backbones.spec": ["BackboneSpec"],
    },
    "training": {
        "training.train": ["Trainer", "read_data", "Data", "learning_rate"],
        "training.config": ["TrainingConfig", "DataConfig", "StageConfig", "AugmentConfig"],
        "training.datasets": ["read_listing", "split_listing", "Listing", "Entry"],
        "training.clips": ["Clips", "Batch", "evaluation_batches"],
        "training.run_folder": ["RunFolder"],
        "training.stages": ["joint_loss", "backbone_loss", "branches_loss", "gate_loss", "all_loss"],
    },
    "export": {
        "export.exporter": ["load_model", "export_bundle"],
        "export.verify": ["verify", "verify_batches"],
        "export.targets": ["check_operators"],
        "export.segments": ["segment_modules", "SegmentModule", "to_onnx", "count_macs"],
    },
    "calibration": {
        "calibration.videos": ["divide", "Parts", "VideoReader"],
        "calibration.thresholds.tune": ["Tuner", "Tuning", "HeldOut"],
        "calibration.thresholds.points": ["Target", "named_points"],
        "calibration.thresholds.costs": ["metric_of", "Metric"],
        "calibration.thresholds.trace_file": ["save_trace", "load_trace", "TraceFile"],
        "calibration.thresholds.report": ["store"],
        "calibration.int8.calibrate": ["calibrate", "Settings", "Calibration", "Form", "store"],
        "calibration.int8.plan": ["Targets", "Plan"],
        "calibration.int8.ranges": ["tensor_ranges"],
        "calibration.int8.qdq": ["quantised", "misplaced"],
    },
    "evaluation": {
        "evaluation.evaluate": ["evaluate"],
        "evaluation.subjects": ["open_subject", "Subject"],
        "evaluation.results": ["Evaluation", "Answers", "Answer"],
        "evaluation.metrics": ["top_accuracy", "mean_average_precision", "wilson", "confusion", "targets_of"],
        "evaluation.report": ["report_folder", "report_of", "write_report"],
    },
}


def pages() -> dict[str, str]:
    """File names below docs/reference and what they hold."""
    logging.getLogger("griffe").setLevel(logging.ERROR)
    package = _package()
    made = {f"{name}.md": _page(package, name, modules) for name, modules in PAGES.items()}
    return {"README.md": _index(package), **made}


def _package() -> griffe.Module:
    """`tlee` with the folders at the root as its subpackages, as setup.py installs them."""
    options = {"warnings": False, "returns_multiple_items": False, "returns_named_value": False}
    loader = griffe.GriffeLoader(
        search_paths=[ROOT], allow_inspection=False, docstring_parser="google", docstring_options=options
    )
    package = loader.load("tlee")
    for name in PAGES:
        if name != "tlee":
            package.set_member(name, loader.load(name))
    loader.resolve_aliases()
    return package


def _index(package: griffe.Module) -> str:
    lines = ["# Python reference", "", MADE, ""]
    lines += ["All that is public, by area. How parts work together is said in [the guides](../README.md).", ""]
    for page, modules in PAGES.items():
        lines += [f"## [{_title(page)}]({page}.md)", "", _text(_area(package, page)), "", "| name | is |", "|---|---|"]
        anchors = _anchors(_page(package, page, modules))
        for module, names in modules.items():
            for name in names:
                summary = _flat(_text(package[module][name]).split("\n\n")[0])
                first = re.split(r"(?<=[a-z0-9)`])\. (?=[A-Z`])", summary)[0].rstrip(".").replace("|", "\\|")
                lines.append(f"| [`{name}`]({page}.md#{next(anchors)}) | {first} |")
        lines.append("")
    return "\n".join(lines)


def _page(package: griffe.Module, page: str, modules: dict[str, list[str]]) -> str:
    lines = [f"# {_title(page)}", "", MADE, "", _text(_area(package, page)), ""]
    for module, names in modules.items():
        lines += [f"## {_title(module)}", "", _text(package[module]), ""]
        for name in names:
            lines += _object(package[module][name], name, 3)
    return "\n".join(lines)


def _area(package: griffe.Module, page: str) -> griffe.Module:
    return package if page == "tlee" else package[page]


def _title(path: str) -> str:
    return path if path.split(".")[0] == "tlee" else f"tlee.{path}"


def _anchors(page: str) -> Iterator[str]:
    """What GitHub makes of the headings of public names: the second one of the same text gets `-1`."""
    seen: Counter[str] = Counter()
    for marks, text in re.findall(r"^(#+) (.*)$", page, re.MULTILINE):
        slug = re.sub(r"[^\w-]", "", text.lower().replace(" ", "-"))
        if len(marks) == 3:
            yield slug + (f"-{seen[slug]}" if seen[slug] else "")
        seen[slug] += 1


def _object(thing: griffe.Object, name: str, level: int) -> list[str]:
    lines = ["#" * level + f" {name}", ""]
    signature = _signature(thing, name)
    if signature:
        lines += ["```text", *signature, "```", ""]
    lines += _sections(thing)
    if not isinstance(thing, griffe.Class):
        return lines
    lines += _fields(thing)
    for member in _members(thing):
        lines += _object(member, f"{name}.{member.name}", level + 1)
    return lines


def _members(kind: griffe.Class) -> list[griffe.Object]:
    """Public methods and properties, also those inherited of our classes; a docstring holds for what overrides it."""
    found = {**kind.inherited_members, **kind.members}
    order = [*kind.members, *(name for name in found if name not in kind.members)]
    chosen = [found[name] for name in order if not name.startswith("_")]
    chosen = [member.final_target if member.is_alias else member for member in chosen]
    methods = [member for member in chosen if _is_method(member)]
    for method in methods:
        for base in kind.mro():
            if method.docstring is None and method.name in base.members:
                method.docstring = base.members[method.name].docstring
    return methods


def _is_method(member: griffe.Object) -> bool:
    return isinstance(member, griffe.Function) or "property" in member.labels


def _signature(thing: griffe.Object, name: str) -> list[str]:
    """How it is called; nothing for a class that is only handed out."""
    if isinstance(thing, griffe.Attribute):
        return [f"{name}: {thing.annotation}"] if thing.annotation else []
    function = thing
    if isinstance(thing, griffe.Class):
        if _holds_fields(thing) or "__init__" not in thing.members:
            return []
        function = thing.members["__init__"]
    given = [_parameter(parameter) for parameter in function.parameters if parameter.name not in ("self", "cls")]
    returned = f" -> {function.returns}".replace("'", "").replace('"', "") if function is thing else ""
    line = f"{name}({', '.join(given)}){returned}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{name}(", *(f"    {parameter}," for parameter in given), f"){returned}"]


def _parameter(parameter: griffe.Parameter) -> str:
    stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}
    text = stars.get(parameter.kind, "") + parameter.name
    if parameter.annotation is not None:
        text += f": {parameter.annotation}"
    if parameter.default is None or stars.get(parameter.kind):
        return text
    return text + (f" = {parameter.default}" if parameter.annotation is not None else f"={parameter.default}")


def _holds_fields(kind: griffe.Class) -> bool:
    bases = {str(base).split(".")[-1] for base in kind.bases}
    return bool(bases & FIELDS or "dataclass" in kind.labels or any(base.endswith("Config") for base in bases))


def _fields(kind: griffe.Class) -> list[str]:
    """What a named tuple, an enumeration, a dataclass or a configuration holds."""
    if not _holds_fields(kind):
        return []
    told = {name: _flat(item.description) for item in _items(kind, "attributes") for name in _names(item)}
    rows = []
    for name, field in kind.members.items():
        if isinstance(field, griffe.Attribute) and not name.startswith("_") and "property" not in field.labels:
            shown = f"`{name}`" + (f" (`{field.annotation}`)" if field.annotation else "")
            shown += f" = `{field.value}`" if field.value is not None else ""
            about = told.get(name) or _comment(field)
            rows.append(f"- {shown}" + (f": {about}" if about else ""))
    return ["**Fields**", "", *rows, ""] if rows else []


def _comment(field: griffe.Attribute) -> str:
    """What stands beside a field."""
    line = field.lines_collection[field.filepath][field.lineno - 1]
    return line.split("  # ", 1)[1].split("# type:")[0].strip() if "  # " in line else ""


def _text(thing: griffe.Object) -> str:
    """The docstring's own text, without its sections."""
    parsed = thing.docstring.parsed if thing.docstring else []
    return "\n\n".join(_marked(part.value) for part in parsed if part.kind is griffe.DocstringSectionKind.text)


def _items(thing: griffe.Object, kind: str) -> list:
    parsed = thing.docstring.parsed if thing.docstring else []
    return [item for part in parsed if part.kind.value == kind for item in part.value]


def _sections(thing: griffe.Object) -> list[str]:
    """A docstring in Markdown."""
    lines: list[str] = []
    for part in thing.docstring.parsed if thing.docstring else []:
        kind = part.kind.value
        if kind == "text":
            lines += [_marked(part.value), ""]
        elif kind == "admonition":  # "Example:"
            lines += [f"**{part.title}**", "", "```text", part.value.description, "```", ""]
        elif kind == "attributes" and isinstance(thing, griffe.Class) and _holds_fields(thing):
            pass  # with the fields
        elif kind in ("returns", "yields"):  # griffe takes what stands before a colon for a type
            said = thing.docstring.value.split(f"{TITLES[kind]}:\n", 1)[1].split("\n\n")[0]
            lines += [f"**{TITLES[kind]}**", "", _flat(said).strip(), ""]
        else:
            lines += [f"**{TITLES[kind]}**", "", *(_item(item, kind) for item in part.value), ""]
    return lines


def _marked(text: str) -> str:
    """With fences around what is indented: that is shown as it stands."""
    return re.sub(
        r"(?:^    .*\n?)+", lambda block: f"```text\n{dedent(block[0]).rstrip()}\n```\n", text, flags=re.MULTILINE
    )


def _names(item: griffe.DocstringElement) -> list[str]:
    """`a, b: what both are` is one item to griffe, or a name with a type."""
    text = getattr(item, "name", "") or ""
    if text.endswith(","):
        text += str(item.annotation)
    return [name for name in re.split(r"[ ,()]+", text) if name]


def _item(item: griffe.DocstringElement, kind: str) -> str:
    names, annotation, about = _names(item), item.annotation, _flat(item.description)
    if kind == "raises":
        names, annotation = str(annotation).strip("()").split(", "), None
    of = f" (`{annotation}`)" if annotation is not None and len(names) == 1 else ""
    return "- " + ", ".join(f"`{name}`" for name in names) + f"{of}: {about}"


def _flat(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text)


def main() -> None:
    made = pages()
    for old in FOLDER.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
