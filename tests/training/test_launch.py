"""Who started a training is told by its own variables alone."""

import pytest

from tlee.errors import UsageError
from tlee.training.launch import launch_of

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "4", "LOCAL_RANK": "0", "GROUP_RANK": "1"}
TORCHRUN |= {"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}
SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "3"}
SRUN = {**SLURM, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_STEP_NUM_TASKS": "6"}
FABRIC = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "NODE_RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("alone", True, "auto", 1)),
        (TORCHRUN, ("torchrun", False, 4, 2)),
        ({**TORCHRUN, "RANK": "0"}, ("torchrun", True, 4, 2)),
        (SRUN, ("srun", True, 2, 3)),
        ({**SRUN, "SLURM_PROCID": "3"}, ("srun", False, 2, 3)),
        (FABRIC, ("alone", False, "auto", 1)),
        # A shell of salloc, a batch script, and a shell that srun opened.
        (SLURM, ("alone", True, "auto", 1)),
        ({**SLURM, "SLURM_PROCID": "0"}, ("alone", True, "auto", 1)),
        ({**SRUN, "SLURM_PTY_PORT": "41"}, ("alone", True, "auto", 1)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "JSM_NAMESPACE_RANK": "2"}, ("alone", True, "auto", 1)),
    ],
)
def test_processes_are_those_that_a_launcher_started(environment, expected):
    assert launch_of(dict(environment)) == expected


def test_processes_are_as_many_as_asked_for():
    assert launch_of({}, 4, 2) == ("alone", True, 4, 2)


def test_variables_of_another_launcher_are_not_handed_on():
    environment = {"RANK": "3", "WORLD_SIZE": "4", "HOME": "/"}
    launch_of(environment)
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({**TORCHRUN, "WORLD_SIZE": "all"}, "WORLD_SIZE: 'all' in the environment is no number; unset it"),
        ({k: v for k, v in SRUN.items() if k != "SLURM_NTASKS_PER_NODE"}, "SLURM: .*start with srun --ntasks-per-node"),
        ({**SRUN, "SLURM_LOCALID": ""}, "SLURM_LOCALID: '' in the environment is no number"),
    ],
)
def test_variables_that_say_nothing_are_one_line(environment, said):
    with pytest.raises(UsageError, match=said):
        launch_of(environment)
