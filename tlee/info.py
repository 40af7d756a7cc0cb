"""`tlee-info BUNDLE`: what is in a bundle."""

import argparse
from typing import List, Optional

from tlee import cli
from tlee.bundle import Bundle

KINDS = ("split", "branch", "tail", "neck", "frm", "head", "gate")  # of segments, in the order of the chain


def describe(bundle: Bundle) -> List[str]:
    """A bundle as lines of text: the model, its segments and fused exits, its exit rule, how it was verified."""
    model, frames, manifest = bundle.manifest["model"], bundle.frames, bundle.manifest
    exits = f"{bundle.exits} exit{'s' if bundle.exits > 1 else ''}"
    fused_exits = [["fused exit", "segments", "inputs", "bytes"]]
    for name, fused in sorted(bundle.fused_exits.items()):
        size = manifest["files"][fused.file]["size"]
        fused_exits.append([name, ", ".join(fused.segments), ", ".join(fused.inputs), f"{size:,}"])
    lines = [
        f"{bundle.name}: {model['backbone']}, {model['classes']} classes, {exits}",
        f"frames: {frames.length} of {frames.crop} x {frames.crop} pixels, order {frames.order}",
        f"sampling: {frames.sampling}; short side {frames.resize}, {frames.interpolation} interpolation",
        "branch: {branch}, feature reuse: {frm}, gate: {gate}, feature size: {feature_size}".format(**model),
        "",
        *cli.table(_segment_rows(bundle), "lllrrr"),
        "",
        *cli.table(fused_exits, "lllr"),
        "",
        *cli.table(_exit_rows(bundle), "lrrrrrrr"),
        "",
    ]
    if manifest["exit_rule"]["operating_points"]:
        lines += cli.table(_point_rows(bundle), "lrrr") + [""]
    lines += [_variant(bundle, precision) for precision in sorted(manifest["variants"])]
    lines.append("activations: {samples} steps recorded of {source}".format(**manifest["activations"]))
    text = "verified: {clips} clips, {runs} runs, {steps} exits as in PyTorch; largest difference {difference:.1e}"
    verification = manifest["verification"]
    lines.append("verified: no" if verification is None else text.format(**verification))
    versions = manifest["provenance"].get("versions", {})
    return lines + ["made by: " + ", ".join(f"{name} {versions[name]}" for name in sorted(versions))]


def _segment_rows(bundle: Bundle) -> List[List[str]]:
    rows = [["segment", "inputs", "outputs", "parameters", "MACs", "bytes"]]
    for name in sorted(bundle.segments, key=lambda name: (KINDS.index(name.rstrip("0123456789")), name)):
        segment = bundle.segments[name]
        entry, state = bundle.manifest["segments"][name], set(segment.state) | set(segment.state.values())
        shapes = [
            ", ".join(f"{v['name']} ({' '.join(map(str, v['shape']))})" for v in entry[side] if v["name"] not in state)
            for side in ("inputs", "outputs")
        ]
        if state:
            shapes = [f"{text} + {len(segment.state)} of state" for text in shapes]
        size = bundle.manifest["files"][segment.file]["size"]
        rows.append([name] + shapes + [f"{n:,}" for n in (segment.parameters, segment.macs, size)])
    return rows


def _exit_rows(bundle: Bundle) -> List[List[str]]:
    """Costs of a frame that leaves at each exit: of all that has run, and of the backbone alone."""
    thresholds, exits = bundle.thresholds(), bundle.manifest["exits"]
    rows = [["exit", "parameters", "MACs of a frame", "in the backbone", "share", "first", "layer", "gate"]]
    for b, costs in enumerate(exits):
        counts = [f"{costs[key]:,}" for key in ("parameters", "macs", "backbone_macs")]
        share = f"{costs['backbone_macs'] / exits[-1]['backbone_macs']:.1%}"
        rows.append([costs["segment"]] + counts + [share] + [f"{values[b]:g}" for values in thresholds])
    return rows


def _point_rows(bundle: Bundle) -> List[List[str]]:
    """Operating points, as measured on videos held out of their choice."""
    rows = [["operating point", "accuracy", "95 % interval", "share of MACs"]]
    for name, point in sorted(bundle.manifest["exit_rule"]["operating_points"].items()):
        measured, (low, high) = point["measured"], point["measured"]["top1_interval"]
        rows.append([name, f"{measured['top1']:.1%}", f"{low:.1%} to {high:.1%}", f"{measured['share_of_macs']:.1%}"])
    return rows


def _variant(bundle: Bundle, precision: str) -> str:
    variant, files = bundle.manifest["variants"][precision], bundle.manifest["files"]
    graphs = variant["graphs"]
    fused = sum(name in bundle.fused_exits for name in graphs)
    size = sum(files[entry["file"]]["size"] for entry in graphs.values())
    text = f"{precision}: {len(graphs) - fused} segments and {fused} fused exits, {size:,} bytes"
    deviations = {entry["deviation"]: name for name, entry in graphs.items() if "deviation" in entry}
    if deviations:
        text += f"; largest deviation {max(deviations):.2g} ({deviations[max(deviations)]})"
    if variant["excluded"]:
        text += f"; not used: {', '.join(variant['excluded'])}"
    return text


def command(arguments: Optional[List[str]]) -> None:
    parser = argparse.ArgumentParser(prog="tlee-info", description="Show what is in a bundle, and check every file.")
    parser.add_argument("bundle", help="folder that tlee-export wrote (NAME.tlee)")
    parser.add_argument("--json", action="store_true", help="print the manifest instead")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    bundle.verify()
    if options.json:
        cli.print_json(bundle.manifest)
    else:
        cli.show(*describe(bundle))


def main() -> None:
    cli.main("tlee-info", command)


if __name__ == "__main__":
    main()
