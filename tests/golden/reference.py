"""The specification of the published model, written down a second time, as plainly as it reads.

Knows nothing of `tlee.models`: it works on the published entries themselves. It is held to the given traces
(`test_reference.py`), and then makes traces of configurations that none was given for (`record.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

CUTS = {"vgg16": (14, 24, 34), "mobilenetv2": (4, 8, 12), "resnet": (5, 6, 7), "efficientnet": (2, 4, 6)}
BASE = "backbone.baseModel."
Split = Callable[[Tensor], Tensor]


class Reference:
    """Takes the published state dictionary and the head of a trace; every weight is read by its published name."""

    def __init__(self, trace: dict, state: dict[str, Tensor]) -> None:
        self.trace, self.state = trace, state
        self.exits = trace["branch_num"] + 1
        base = {key[len(BASE) :]: value for key, value in state.items() if key.startswith(BASE)}
        name = trace["backbone"]
        if name == "bn_inception":
            splits = bn_inception(base)
        elif name == "mobilenetv2_tsm":
            splits = cut(tsm_blocks(base), CUTS["mobilenetv2"])
        else:
            family = re.match("vgg16|mobilenetv2|resnet|efficientnet", name).group()
            splits = cut(list(torchvision_features(name, base)), CUTS[family])
        # With fewer branches the first parts are joined.
        joined = len(splits) - self.exits
        self.splits: list[Split] = [chained(splits[: joined + 1]), *splits[joined + 1 :]]

    def feature(self, exit: int, x: Tensor) -> Tensor:
        z = self.branch(exit, x) if exit < self.exits - 1 else self.tail(x)
        if "mlp.layers.0.weight" in self.state:
            z = F.relu(batch_norm(self.state, "mlp.layers.1", self.linear("mlp.layers.0", z)))
        return z

    def branch(self, b: int, x: Tensor) -> Tensor:
        prefix = f"backbone.branches.{b}."
        k = x.shape[-1] // 4
        window = x.shape[-1] // k
        alpha = self.state[prefix + "alpha"]
        x = alpha * F.max_pool2d(x, window) + (1 - alpha) * F.avg_pool2d(x, window)
        for i in range(self.trace["crm_num"]):
            x = F.relu(self.convolution(f"{prefix}crm.conv{i}", x))
        return self.linear(prefix + "fc1", x.flatten(1))

    def tail(self, x: Tensor) -> Tensor:
        if self.trace["backbone"] != "vgg16":
            return x.mean((2, 3))
        x = F.adaptive_avg_pool2d(x, 7).flatten(1)
        x = F.relu(self.linear("backbone.fc_layer.0", x))
        x = F.relu(self.linear("backbone.fc_layer.3", x))
        return self.linear("backbone.fc_layer.5", x)

    def reuse(self, z: Tensor, previous: Tensor) -> Tensor:
        kind = self.trace["frm"]
        if kind in ("mp", "frm"):
            return torch.maximum(z, previous)
        if kind == "ap":
            return (z + previous) / 2
        if kind == "ema":
            beta = self.state["feature_func.beta"]
            return beta * previous + (1 - beta) * z
        if kind == "na":
            return z.abs() + previous.abs()
        if kind == "afrm":
            now, past = self.score(z).sigmoid(), self.score(previous).sigmoid()
            return (now * z + past * previous) / (now + past)
        return z

    def score(self, x: Tensor) -> Tensor:
        return self.linear("feature_func.testfrm.4", F.relu(self.linear("feature_func.testfrm.1", F.relu(x))))

    def gate(self, z: Tensor, previous: Tensor) -> float | None:
        prefix = "exit_selector.0."
        if self.trace["gate"] == "gm":
            pair = [self.linear(prefix + "fc1", x) for x in (z, previous)]
            return self.linear(prefix + "fc2", torch.cat(pair, 1)).sigmoid().item()
        if self.trace["gate"] == "eg":
            pair = []
            for x in (z, previous):
                x = F.relu(self.convolution(prefix + "conv1", x[:, :, None, None]))
                pair.append(F.relu(self.convolution(prefix + "conv2", x)).flatten(1))
            return self.linear(prefix + "linear", torch.cat(pair, 1)).sigmoid().item()
        return None

    def convolution(self, name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, self.state[name + ".weight"], self.state[name + ".bias"])

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[name + ".weight"], self.state[name + ".bias"])

    @torch.inference_mode()
    def run(self, clip: Tensor, first: float, layer: float, free: bool = False) -> list[dict]:
        """The exit rule on a normalised clip (T, 3, H, W); `free`: every exit of every frame, none taken."""
        steps: list[dict] = []
        previous = None
        last = len(clip) - 1
        for t, frame in enumerate(clip):
            x = frame[None]
            for b in range(self.exits):
                x = self.splits[b](x)
                z = self.feature(b, x)
                if t > 0:
                    z = self.reuse(z, previous)
                logits = self.linear("classifiers.0", z)
                confidence = logits.softmax(1).max().item()
                gate = self.gate(z, previous) if t > 0 and (free or t < last) else None
                step = {"frame": t, "exit": b, "logits5": rounded(logits[0, :5].tolist())}
                step |= {"confidence": round(confidence, 6), "argmax": logits.argmax().item()}
                step |= {} if gate is None else {"gate": round(gate, 6)}
                step |= {"feature_norm": round(z.norm().item(), 5)}
                steps.append(step)
                previous = z
                if free:
                    continue
                stop = confidence > first if t == 0 else t == last or (gate is not None and gate >= 0.5)
                if stop:
                    del step["feature_norm"]  # the given traces leave it out here
                    return [*steps[:-1], {**step, "stop": "video"}]
                if confidence > layer:
                    steps[-1] = {**step, "stop": "frame"}
                    break
        return steps


def rounded(values: list[float]) -> list[float]:
    return [round(value, 6) for value in values]


def chained(parts: list[Split]) -> Split:
    def run(x: Tensor) -> Tensor:
        for part in parts:
            x = part(x)
        return x

    return run


def cut(blocks: list[Split], cuts: tuple[int, ...]) -> list[Split]:
    bounds = (0, *cuts, len(blocks))
    return [chained(blocks[a:b]) for a, b in zip(bounds, bounds[1:])]


def torchvision_features(name: str, base: dict[str, Tensor]) -> nn.Sequential:
    theirs = {"vgg16": "vgg16_bn", "mobilenetv2": "mobilenet_v2", "efficientnetb3": "efficientnet_b3"}.get(name, name)
    model = torchvision.models.get_model(theirs)
    features = model.features if hasattr(model, "features") else nn.Sequential(*list(model.children())[:-1])
    features.load_state_dict(base)
    return features.eval()


def batch_norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (state[f"{name}.{e}"] for e in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias)


def tsm_blocks(base: dict[str, Tensor]) -> list[Split]:
    """MobileNetV2 in the TSM code's flat layer numbers, without the shift."""
    strides = [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]  # of the 17 blocks

    def unit(i: int | str, norm: int | str, x: Tensor, stride: int = 1) -> Tensor:
        weight = base[f"{i}.weight"]
        groups = x.shape[1] // weight.shape[1]
        return batch_norm(base, str(norm), F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups))

    def stem(x: Tensor) -> Tensor:
        return F.relu6(unit("0.0", "0.1", x, 2))

    def block(i: int) -> Split:
        def run(x: Tensor) -> Tensor:
            places = [0, 3] if i == 1 else [0, 3, 6]
            y = x
            for place in places:
                stride = strides[i - 1] if place == places[-2] else 1
                y = unit(f"{i}.conv.{place}", f"{i}.conv.{place + 1}", y, stride)
                y = y if place == places[-1] else F.relu6(y)
            return x + y if x.shape == y.shape else y

        return run

    def last(x: Tensor) -> Tensor:
        return F.relu6(unit("18.0", "18.1", x))

    return [stem, *(block(i) for i in range(1, 18)), last]


def bn_inception(base: dict[str, Tensor]) -> list[Split]:
    """BN-Inception read off the names and shapes of its public weights."""

    def unit(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = base[f"{name}.weight"]
        x = F.conv2d(x, weight, base[f"{name}.bias"], stride, weight.shape[-1] // 2)
        return F.relu(batch_norm(base, f"{name}_bn", x))

    def half(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    def stem(x: Tensor) -> Tensor:
        x = half(unit("conv1_7x7_s2", x, 2))
        return half(unit("conv2_3x3", unit("conv2_3x3_reduce", x)))

    def block(name: str) -> Split:
        prefix = f"inception_{name}_"

        def run(x: Tensor) -> Tensor:
            stride = 2 if name in ("3c", "4e") else 1
            three = unit(prefix + "3x3", unit(prefix + "3x3_reduce", x), stride)
            double = unit(prefix + "double_3x3_1", unit(prefix + "double_3x3_reduce", x))
            double = unit(prefix + "double_3x3_2", double, stride)
            if stride == 2:
                return torch.cat([three, double, half(x)], 1)
            pooled = F.max_pool2d(x, 3, 1, 1) if name == "5b" else F.avg_pool2d(x, 3, 1, 1)
            return torch.cat([unit(prefix + "1x1", x), three, double, unit(prefix + "pool_proj", pooled)], 1)

        return run

    def pool(x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    names = ["3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
    blocks = [block(name) for name in names]
    return [stem, chained(blocks[:3]), chained(blocks[3:8]), chained([*blocks[8:], pool])]
