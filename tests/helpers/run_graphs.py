"""Opens and runs the graphs of a folder in ONNX Runtime, for test_graphs.py. Names each, and ends with an error
where one takes more than 10 seconds or 2 GB are not enough."""

import faulthandler
import resource
import sys
from pathlib import Path

import numpy as np

from tlee.runtime.onnx_session import open_session

resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9))
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    print(path.name, flush=True)
    faulthandler.dump_traceback_later(10, exit=True)
    try:
        session = open_session(path.read_bytes(), threads=1)
        inputs = {value.name: np.ones(value.shape, np.float32) for value in session.get_inputs()}
        session.run(None, inputs)
    except MemoryError:
        sys.exit(f"{path.name}: 2 GB are not enough")
    except Exception as error:  # refused by ONNX Runtime
        if "alloc" in str(error).lower() or "memory" in str(error).lower():
            sys.exit(f"{path.name}: {error}")
    faulthandler.cancel_dump_traceback_later()
