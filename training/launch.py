"""Who started this process: torchrun, srun, Lightning Fabric (one process after the first) or nobody but the user.

Decided here, and told to Fabric: by itself it takes variables of a launcher that started something else, such as those
in a shell of salloc, for its own, and then fails or waits for processes that never come.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import NamedTuple

from tlee.errors import UsageError

TORCHRUN, SRUN, ALONE = "torchrun", "srun", "alone"
NEEDED = {
    TORCHRUN: ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    SRUN: ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES"),
}
RANKS = ("LOCAL_RANK", "NODE_RANK")
STARTED = (*RANKS, "WORLD_SIZE")  # what processes that Fabric starts get, beside MASTER_ADDR
PER_NODE = "SLURM_NTASKS_PER_NODE"


class Launch(NamedTuple):
    """How this process was started.

    Attributes:
        way: one of TORCHRUN, SRUN and ALONE.
        first: whether it is the one of all processes that writes and speaks.
        devices, nodes: processes per machine, and machines; of a process that was started alone as asked for.
    """

    way: str
    first: bool
    devices: int | str
    nodes: int


def launch_of(environment: MutableMapping[str, str], devices: int | None = None, nodes: int = 1) -> Launch:
    """Who started this process. Variables that are none of its own are taken out of the environment, which processes
    that it starts inherit.

    Args:
        devices, nodes: as asked for.

    Raises:
        UsageError: the launcher's variables are missing or no numbers.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        rank, _, _, world, local = _numbers(environment, TORCHRUN)
        return Launch(TORCHRUN, rank == 0, local, max(1, world // max(1, local)))
    if _of_srun(environment):
        if PER_NODE not in environment:
            problem = "started by srun, which does not say how many tasks each machine has"
            raise UsageError("SLURM", problem, "start with srun --ntasks-per-node=N, one for each GPU")
        rank, _, _, _, local, machines = _numbers(environment, SRUN)
        return Launch(SRUN, rank == 0, local, machines)
    own = STARTED if "MASTER_ADDR" in environment else ()
    for name in {*NEEDED[TORCHRUN], *STARTED}.difference(own):
        environment.pop(name, None)
    first = all(_number(environment, name, "0") == 0 for name in RANKS)
    return Launch(ALONE, first, devices or "auto", nodes)


def _of_srun(environment: MutableMapping[str, str]) -> bool:
    """Whether this is one of several tasks of srun, and no shell that srun or salloc opened."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    return "SLURM_PROCID" in environment and tasks != "1" and "SLURM_PTY_PORT" not in environment


def _numbers(environment: MutableMapping[str, str], way: str) -> list[int]:
    return [_number(environment, name) for name in NEEDED[way]]


def _number(environment: MutableMapping[str, str], name: str, default: str = "") -> int:
    value = environment.get(name, default)
    if not value.isdecimal():
        raise UsageError(name, f"'{value}' in the environment is no number", "unset it, or start anew")
    return int(value)
