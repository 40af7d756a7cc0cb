"""All checks, in the order of what rests on what."""

from typing import Callable, Iterator, List

from tlee.doctor import libraries, system
from tlee.doctor.finding import Finding
from tlee.doctor.machine import Machine

Check = Callable[[Machine], Iterator[Finding]]
BASE: List[Check] = [system.board, system.system, system.python, system.tlee, system.groups]
LIBRARIES: List[Check] = [libraries.numpy, libraries.opencv, libraries.cuda]
LIBRARIES += [libraries.tensorrt, libraries.onnxruntime, libraries.engines]
SPEED: List[Check] = [system.memory, system.swap, system.disk, system.power]
OTHERS: List[Check] = [system.camera, system.jtop, system.docker]


def findings(machine: Machine) -> List[Finding]:
    """All that there is to say of a machine."""
    return [finding for check in BASE + LIBRARIES + SPEED + OTHERS for finding in check(machine)]
