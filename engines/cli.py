"""`tlee-build NAME.tlee`: TensorRT engines for this device."""

import argparse
import os
from typing import List, Optional, Tuple

from tlee import cli
from tlee.bundle import FUSED, SEPARATE, Bundle
from tlee.engines.builder import Builder, Result, find_machine
from tlee.engines.check import summary
from tlee.engines.inventory import clean, rows
from tlee.engines.memory import MIB
from tlee.engines.planning import CACHES, PRECISIONS, QDQ, BuildOptions, Machine
from tlee.engines.releases import MODULES
from tlee.errors import UsageError, printable

PROGRAM = "tlee-build"


def command(arguments: Optional[List[str]]) -> int:
    options = _parser().parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    engine_dir = options.engine_dir or os.path.join(bundle.path, "engines")
    if options.list:
        print("\n".join(cli.table(rows(bundle, engine_dir, _machine(options.target)), "lllrl")))
        return cli.OK
    if options.clean:
        for line in clean(bundle, engine_dir, _machine(options.target)):
            print(printable(line))
        return cli.OK
    given = {name: getattr(options, name) for name in BuildOptions._fields if name != "overrides"}
    size = options.workspace * MIB if options.workspace else None
    builder = Builder(bundle, engine_dir, options.target, size, lambda line: cli.report(PROGRAM, line))
    results = builder.build(BuildOptions(overrides=dict(options.segment), **given))
    print("\n".join(_report(builder, results, options.layers)))
    return cli.INPUT_FAILED if any(result.failed for result in results) else cli.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Build TensorRT engines of a bundle, for this device and its release of TensorRT, and compare "
        "each with what ONNX Runtime computed. What is there already is not built again.",
        epilog="Exit status: 0 all engines are there, 1 some could not be built or answer wrongly, 2 wrong use or "
        "unreadable bundle, 130 interrupted; finished engines are kept in every case.",
    )
    add = parser.add_argument
    add("bundle", help="folder that tlee-export wrote (NAME.tlee)")
    add("--precision", choices=PRECISIONS, default="fp16", help="what layers may compute in (fp16)")
    override = "another precision for one split, exit or segment; may be repeated"
    add("--segment", type=_override, action="append", default=[], metavar="NAME=PRECISION", help=override)
    exits = "one engine per exit, or one per segment (fused: faster)"
    add("--exit-graphs", choices=(FUSED, SEPARATE), default=FUSED, help=exits)
    add("--batch", type=cli.positive, default=1, metavar="N", help="engines for up to N videos at once (1)")
    add("--engine-dir", metavar="FOLDER", help="where engines are kept (NAME.tlee/engines)")
    add("--target", choices=sorted(MODULES), default="tensorrt", help="rtx: TensorRT-RTX, for desktops")
    add("--workspace", type=cli.positive, metavar="MB", help="scratch memory (what free memory allows)")
    add("--dla", type=cli.natural, metavar="CORE", help="build for a deep learning accelerator")
    add("--int8-from", choices=(QDQ, CACHES), default=QDQ, help="Q/DQ graphs, or calibration caches (qdq)")
    fallback = "fp16 where the GPU has no fast INT8, fp32 where it has neither"
    add("--allow-fallback", action="store_true", help=fallback)
    add("--layers", action="store_true", help="print what each layer computes in")
    add("--list", action="store_true", help="show the engines there are, and build nothing")
    add("--clean", action="store_true", help="remove engines that cannot be used here any more")
    return parser


def _override(text: str) -> Tuple[str, str]:
    name, _, precision = text.partition("=")
    if precision not in PRECISIONS:
        raise argparse.ArgumentTypeError(f"'{text}': give NAME=PRECISION, of {', '.join(PRECISIONS)}")
    return name, precision


def _machine(target: str) -> Optional[Machine]:
    """None where TensorRT or a GPU is missing: engines can be looked at everywhere."""
    try:
        return find_machine(target)
    except UsageError as error:
        cli.report(PROGRAM, error)
        return None


def _report(builder: Builder, results: List[Result], with_layers: bool) -> List[str]:
    machine = builder.machine
    table = [["engine", "precision", "built in", "size", "layers", "differs by", "allowed", ""]]
    details: List[str] = []
    for spec, state, new, _ in results:
        if state is None:
            table.append([spec.graph, spec.precision, "", "", "", "", "", "not built"])
            continue
        entry = builder.store.entries[spec.file]
        built, check, checked = f"{entry['seconds']:.1f} s" if new else "before", entry["check"], ["", "", ""]
        if check:
            worst = max(check["differences"].values())
            checked = [summary(entry["layers"]), f"{worst:.1e}", f"{check['tolerance']:.1e}"]
            details += ["", f"{spec.graph} in {spec.precision}:"]
            details += cli.table([[layer["precision"], layer["type"], layer["name"]] for layer in entry["layers"]])
        table.append([spec.graph, spec.precision, built, f"{entry['bytes'] / 1e6:.2f} MB"] + checked + [state])
    place = machine.gpu or "no GPU here, so nothing was run"
    lines = [f"{machine.tensorrt}, {place}"] + cli.table(table, "llrrlrrl")
    if machine.gpu is None:
        lines.append("not checked: run the same on the machine with the GPU before you rely on them")
    return lines + (details if with_layers else []) + [f"written: {printable(builder.store.folder)}"]


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
