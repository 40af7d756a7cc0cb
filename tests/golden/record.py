"""Records golden traces of published configurations that none was given for: at the root,
`PYTHONPATH=tests python -m golden.record`.

They come from `reference.py`, the plain second writing of the specification, not from the model under test; only the
names and shapes of the entries are the model's (`published_state_dicts.json` holds those to the published ones).
"""

from __future__ import annotations

import json

from golden.reference import Reference
from golden.traces import FOLDER, golden_state, normalised_clip, trace_config

from tlee.models.model import Tlee
from tlee.models.published import published_names, unread_entries

# Backbone, branches, gate, FRM, dataset, scale, what the logits are multiplied by.
CONFIGURATIONS = (
    ("vgg16", 3, "gm", "mp", "hmdb51", 1, 4.0),
    ("bn_inception", 3, "eg", "mp", "hmdb51", 1, 8.0),
    ("mobilenetv2", 2, "eg", "mp", "hmdb51", 1, 3.0),
    ("mobilenetv2_tsm", 3, "gm", "afrm", "hmdb51", 1, 4.0),
    ("efficientnetb3", 2, "eg", "mp", "hmdb51", 3, 12.0),
    ("resnet34", 1, "gm", "na", "hmdb51", 3, 0.1),
    ("resnet50", 3, "gm", "ema", "hmdb51", 3, 0.5),
    ("mobilenetv2", 3, "none", "none", "ucf101", 1, 3.0),
)
CLASSES = {"hmdb51": 51, "ucf101": 101}
NEVER = 2.0


def record(backbone: str, branches: int, gate: str, frm: str, dataset: str, scale: int, gain: float) -> dict:
    trace = {"backbone": backbone, "branch_num": branches, "gate": gate, "frm": frm, "dataset": dataset}
    trace |= {"num_classes": CLASSES[dataset], "branch_scale": scale, "crm_num": 3, "logit_gain": gain}
    trace |= {"frames": 10, "clip_seed": 0}
    model = Tlee(trace_config(trace))
    names, state = published_names(model), model.state_dict()
    trace["output_dim"] = model.feature_size
    trace["state_dict"] = {names[name]: list(tensor.shape) for name, tensor in state.items()}
    trace["state_dict"] |= {name: list(shape) for name, shape in unread_entries(model.config).items()}
    reference = Reference(trace, golden_state(trace["state_dict"], gain))
    clip = normalised_clip(trace)
    trace["free_run"] = reference.run(clip, NEVER, NEVER, free=True)
    layer = amid([step["confidence"] for step in trace["free_run"]])
    trace["runs"] = []
    for first, threshold in ((NEVER, NEVER), (NEVER, layer), (0.0, NEVER), (0.99, layer)):
        steps = reference.run(clip, first, threshold)
        run = {"first_threshold": first, "layer_threshold": threshold, "steps": steps, "label": steps[-1]["argmax"]}
        trace["runs"].append({**run, "exit_frame": steps[-1]["frame"], "exit_branch": steps[-1]["exit"]})
    return trace


def amid(values: list[float]) -> float:
    """The middle of the widest gap among the middle half, so that no run hangs on the last digit."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 4 : len(ordered) * 3 // 4]
    return round(max((b - a, (a + b) / 2) for a, b in zip(middle, middle[1:]))[1], 3)


def main() -> None:
    for configuration in CONFIGURATIONS:
        trace = record(*configuration)
        head = {key: value for key, value in trace.items() if key not in ("state_dict", "free_run", "runs")}
        lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        lines.append(f' "state_dict": {json.dumps(trace["state_dict"])}')
        for key in ("free_run", "runs"):
            rows = ",\n  ".join(json.dumps(row) for row in trace[key])
            lines.append(f' "{key}": [\n  {rows}\n ]')
        path = FOLDER / "golden_{backbone}_{gate}_{frm}.json".format(**trace)
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        confidences = [step["confidence"] for step in trace["free_run"]]
        ends = [(run["exit_frame"], run["exit_branch"]) for run in trace["runs"]]
        print(path.name, f"confidence {min(confidences):.3f} to {max(confidences):.3f}", ends)


if __name__ == "__main__":
    main()
