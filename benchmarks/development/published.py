"""What the networks of published figures cost, counted as an export counts a bundle's segments: for
`tlee.reports.fit`, which fits the boards' efficiencies to these figures.

    python -m tlee.benchmarks.development.published [NETWORK ...]     # such as resnet50-224; all without

Writes the counts into reports/published.json of the checkout. For a workstation, with torchvision, and timm for the
networks that torchvision does not have. Weights do not matter and are random.
"""

import argparse
import importlib
import json
import multiprocessing
import os
from typing import Any, Dict, List, Optional

from tlee import cli
from tlee.files import write_json
from tlee.reports import fit

FROM_TIMM = ("inception_resnet_v2", "inception_v4", "mobilenetv1_100")
UNTRAINED = {name: {"init_weights": False} for name in ("googlenet", "inception_v3")}  # initialising takes minutes


def count(network: str) -> Dict[str, Any]:
    """The counts of one network, named `<name>-<side of its input>`."""
    from tlee.export.segments import SegmentModule, count_macs, count_parameters, count_traffic, to_onnx

    name, side = network.rsplit("-", 1)
    if name in FROM_TIMM:
        model = importlib.import_module("timm").create_model(name, pretrained=False)
    else:
        models = importlib.import_module("torchvision.models")
        model = models.get_model(name, weights=None, **UNTRAINED.get(name, {}))
    segment = SegmentModule(name, model.eval(), ("x",), ((1, 3, int(side), int(side)),), ("y",))
    counts = {"macs": count_macs(segment), "parameters": count_parameters(segment)}
    return dict(counts, **count_traffic(to_onnx(segment)))


def command(arguments: Optional[List[str]] = None) -> None:
    parser = argparse.ArgumentParser(prog="published", description="Count what the networks of published figures cost.")
    parser.add_argument("networks", nargs="*", help="such as resnet50-224 (default: all that a figure is of)")
    options = parser.parse_args(arguments)
    with open(fit.PUBLISHED, encoding="utf-8") as stream:
        published = json.load(stream)
    networks = options.networks or sorted({figure["network"] for figure in published["figures"]})
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for network, counts in zip(networks, pool.imap(count, networks)):
            published["networks"][network] = counts
            print(f"{network}: {counts}", flush=True)
    write_json(fit.PUBLISHED, published)


if __name__ == "__main__":
    cli.main("published", command)
