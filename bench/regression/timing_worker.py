"""Times training steps of one source tree for a process that compares two: a request a line, an answer a line.

It is started in that tree; its argument, else that tree, is its first import path, so that `bench` is the one there.
    {"prepare": objective, "suite": path} -> {"steps": n}      builds it; n steps take about `ROUND_SECONDS`
    {"time": objective, "steps": n}       -> {"seconds": s}    CPU seconds of the process for n steps
What fails is answered by {"error": words}.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

ROUND_SECONDS = 0.03
WARM_UP = 5


def main() -> None:
    """Answers until its input ends."""
    sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else ".")
    import torch

    from bench.suites import expand, schema
    from bench.training.trainer import Trainer

    torch.set_num_threads(1)
    trainers: dict[str, Any] = {}
    answer: dict[str, Any]
    for line in sys.stdin:
        request, answer = json.loads(line), {}
        try:
            if "prepare" in request:
                name = request["prepare"]
                selection = expand.Selection(objectives=(name,), seeds=(0,))
                planned = expand.plan_runs(schema.read_suite(request["suite"]), selection, "cpu")[0]
                trainers[name] = Trainer(planned, 0, torch.device("cpu"))
                _seconds(trainers[name], WARM_UP)
                answer["steps"] = max(1, round(ROUND_SECONDS * WARM_UP / _seconds(trainers[name], WARM_UP)))
            else:
                answer["seconds"] = _seconds(trainers[request["time"]], request["steps"])
        except Exception as error:  # one objective's failure must not cost the others their times
            answer["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


def _seconds(trainer: Any, steps: int) -> float:
    trainer.step(0)  # the other process has emptied the caches since the last turn
    began = time.process_time()
    for _ in range(steps):
        trainer.step(0)
    return time.process_time() - began


if __name__ == "__main__":
    main()
