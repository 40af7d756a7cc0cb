"""How fast training computes, forward and backward, and what its memory layout and kept buffers gain.

    python -m tlee.benchmarks.development.training

Four ways to train, each in a process of its own, take turns: weights as torch stores them, as in `tlee-train`, or
channels last; buffers given back to the kernel, or kept, as in `tlee-train`. CPU time is that of the whole process.
For a workstation: it needs PyTorch.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

from tlee import cli

WAYS = ("plain", "kept", "last", "kept,last")
WARM_UP = 2


def serve(way: str, options: argparse.Namespace) -> None:
    """Take a step for every line on standard input; print seconds, of the CPU for us and the kernel, and MB at most."""
    from tlee.training.memory import keep_buffers

    if "kept" in way:
        keep_buffers()
    # imported here: PyTorch may not be installed, and buffers are to be kept from the first one on
    import torch

    from tlee.models.config import Config, FramesConfig, ModelConfig
    from tlee.models.model import Tlee
    from tlee.training.config import StageConfig
    from tlee.training.stages import STAGES, StageModule

    torch.set_num_threads(options.threads)
    model_config = ModelConfig(backbone=options.backbone, input_size=options.size, classes=10)
    model = Tlee(Config(model=model_config, frames=FramesConfig(count=options.frames)))
    if "last" in way:
        model.to(memory_format=torch.channels_last)
    stage = StageModule(model, StageConfig(stage=options.stage, epochs=1)).train()
    optimiser = torch.optim.SGD(stage.parameters(), 1e-3, momentum=0.9)
    count = 1 if STAGES[options.stage].single else options.frames
    clips = torch.randint(0, 256, (options.batch, count, options.size, options.size, 3), dtype=torch.uint8)
    targets = torch.full((options.batch, 10), 0.1)
    for _ in sys.stdin:
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        optimiser.zero_grad(set_to_none=True)
        stage(clips, targets).backward()
        optimiser.step()
        spent, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        print(spent, user, system, after.ru_maxrss / 1024, flush=True)


def measure(processes: Dict[str, Any], runs: int) -> Dict[str, List[List[float]]]:
    """What each process answers to so many lines, after some to warm up."""
    found = {way: [] for way in processes}  # type: Dict[str, List[List[float]]]
    for _ in range(WARM_UP + runs):
        for way, process in processes.items():
            print("step", file=process.stdin, flush=True)
            found[way].append([float(number) for number in process.stdout.readline().split()])
    return {way: answers[WARM_UP:] for way, answers in found.items()}


def command(arguments: Optional[List[str]]) -> None:
    parser = argparse.ArgumentParser(description="Forward and backward passes of training.")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="(%(default)s)")
    parser.add_argument("--stage", default="frames", help="of the training (%(default)s)")
    parser.add_argument("--size", type=cli.positive, default=128, help="side of a frame, pixels (%(default)s)")
    parser.add_argument("--batch", type=cli.positive, default=32, help="videos per step (%(default)s)")
    parser.add_argument("--frames", type=cli.positive, default=10, help="of a video, in other stages (%(default)s)")
    parser.add_argument("--threads", type=cli.positive, default=2, help="(%(default)s)")
    parser.add_argument("--runs", type=cli.positive, default=7, help="of each (%(default)s)")
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve, options)
        return
    again = [
        sys.executable,
        "-m",
        "tlee.benchmarks.development.training",
        *(sys.argv[1:] if arguments is None else arguments),
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "universal_newlines": True}  # type: Dict[str, Any]
    processes = {way: subprocess.Popen([*again, "--serve", way], **pipes) for way in WAYS}
    found = measure(processes, options.runs)
    for process in processes.values():
        process.communicate()
    rows = [["weights, buffers", "frames/s", "user s/step", "system s/step", "MB at most"]]
    each = options.batch * (1 if options.stage == "frames" else options.frames)
    for way, answers in found.items():
        spent, user, system, most = (statistics.median(column) for column in zip(*answers))
        rows.append([way, f"{each / spent:.1f}", f"{user:.2f}", f"{system:.2f}", f"{most:.0f}"])
    print("\n".join(cli.table(rows, "lrrrr")))


if __name__ == "__main__":
    cli.main("training", command)
