"""One of several processes that train together: runs the jobs that tests/training/test_workers.py asks for, in order.

    python worker.py FOLDER   with TF_CONFIG set, and FOLDER/jobs.json: name of a job -> what `made` takes

Writes for each job the weights of this process, and as worker 0 the facts of its epochs.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from common.runtime.tensorflow_setup import import_tensorflow
from common.training import distributed

import_tensorflow()
STRATEGY, _ = distributed.create_strategy()

from common.errors import RunError  # noqa: E402
from common.inference import served_model  # noqa: E402
from common.types import JsonObject  # noqa: E402
from tests.helpers.trainers import made, made_up, trained  # noqa: E402

WORKERS = distributed.WorkerGroup(STRATEGY)


def refused(facts: dict[str, str]) -> str | None:
    """How a difference between the workers is told."""
    try:
        WORKERS.assert_identical(facts)
    except RunError as error:
        return str(error)
    return None


def exchanges() -> JsonObject:
    """What the processes tell each other, as each of them has it."""
    index = WORKERS.index
    return {
        "agreed": WORKERS.broadcast_floats(0.1 + index, 1e300),
        "any": [WORKERS.any_worker(False), WORKERS.any_worker(index == 1)],
        "exchanged": [data.decode() for data in WORKERS.all_gather_bytes(b"ab" * index)],
        "large": [len(data) for data in WORKERS.all_gather_bytes(bytes(100_000 * (index + 1)))],
        "broadcast": WORKERS.broadcast_json({"path": f"runs/{index}", "old": False}),
        "spread": [
            [item, result[0].tolist()]
            for item, result in WORKERS.map_over_replicas(
                range(7), lambda items: [[np.array([b"%d" % item, b""])] for item in items]
            )
        ],
        "identical": refused({"seed": "1"}),
        "differ": refused({"seed": "1", "--epochs": str(2 + (index == 1))}),
    }


def plain(value: Any) -> Any:
    """Bytes as text, for JSON."""
    return value.decode() if isinstance(value, bytes) else value


def main(folder: Path) -> None:
    exchanged = exchanges()
    (folder / f"exchanges-{WORKERS.index}.json").write_text(json.dumps(exchanged, default=plain))
    for job, settings in json.loads((folder / "jobs.json").read_text()).items():
        trainer = made(strategy=STRATEGY, **settings)
        facts = trained(trainer)
        weights: dict[str, Any] = trainer.get_weights()
        np.savez(folder / f"{job}-{WORKERS.index}.npz", **weights)
        served = served_model.serve_model(trainer.recipe, trainer.model, trainer.config, STRATEGY)
        measured = served.compute_metrics(made_up(settings["name"], 300)) if settings["name"] == "sentiment" else {}
        (folder / f"{job}-{WORKERS.index}.json").write_text(json.dumps([facts, measured]))
    WORKERS.any_worker(False)  # nobody leaves before the others are done


if __name__ == "__main__":
    main(Path(sys.argv[1]))
