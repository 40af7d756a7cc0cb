"""What started this process: torchrun, srun, Lightning Fabric (for all processes but the first) or the user.

Fabric is told, since its own detection is fooled by the variables of a launcher that started something else, such as
those in a shell of salloc; it then fails, or waits for processes that never come.
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
STARTED = (*RANKS, "WORLD_SIZE")  # set by Fabric, with MASTER_ADDR, for processes that it starts
PER_NODE = "SLURM_NTASKS_PER_NODE"


class Launch(NamedTuple):
    """How this process was started."""

    launcher: str  # TORCHRUN, SRUN or ALONE
    first: bool  # whether this is the process that writes and prints
    devices: int | str  # processes per machine; as requested if ALONE
    nodes: int  # machines, likewise


def launch_of(environment: MutableMapping[str, str], devices: int | None = None, nodes: int = 1) -> Launch:
    """What started this process; `devices` and `nodes` as requested.

    Variables of other launchers are removed from the environment, which the processes that this one starts inherit.

    Raises:
        UsageError: the launcher's variables are missing or are not numbers.
    """

    def number(name: str, default: str = "") -> int:
        value = environment.get(name, default)
        if not value.isdecimal():
            raise UsageError(name, f"'{value}' in the environment is no number", "unset it, or start anew")
        return int(value)

    if "TORCHELASTIC_RUN_ID" in environment:
        rank, _, _, world, local = map(number, NEEDED[TORCHRUN])
        return Launch(TORCHRUN, rank == 0, local, max(1, world // max(1, local)))
    several = environment.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    # Not in a shell that srun or salloc opened.
    if several and "SLURM_PROCID" in environment and "SLURM_PTY_PORT" not in environment:
        if PER_NODE not in environment:
            problem = "started by srun, which does not say how many tasks each machine has"
            raise UsageError("SLURM", problem, "start with srun --ntasks-per-node=N, one for each GPU")
        rank, _, _, _, local, machines = map(number, NEEDED[SRUN])
        return Launch(SRUN, rank == 0, local, machines)
    own = STARTED if "MASTER_ADDR" in environment else ()
    for name in {*NEEDED[TORCHRUN], *STARTED}.difference(own):
        environment.pop(name, None)
    first = all(number(name, "0") == 0 for name in RANKS)
    return Launch(ALONE, first, devices or "auto", nodes)
