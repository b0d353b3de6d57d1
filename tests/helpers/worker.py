"""One of several processes that train together: runs the jobs that tests/training/test_workers.py asks for, in order.

    python worker.py FOLDER   with TF_CONFIG set, and FOLDER/jobs.json: name of a job -> what `made` takes

Writes for each job the weights of this process, and as worker 0 the facts of its epochs.
"""

import json
import sys
from pathlib import Path

import numpy as np

from common.runtime.tensorflow_setup import import_tensorflow
from common.training import distributed

import_tensorflow()
STRATEGY, _ = distributed.strategy()

from common.errors import RunError  # noqa: E402
from common.inference import served_model  # noqa: E402
from tests.helpers.trainers import made, made_up, trained  # noqa: E402

PEERS = distributed.Peers(STRATEGY)


def refused(facts):
    """How a difference between the workers is told."""
    try:
        PEERS.check_alike(facts)
    except RunError as error:
        return str(error)
    return None


def exchanges():
    """What the processes tell each other, as each of them has it."""
    index = PEERS.index
    return {
        "agreed": PEERS.agreed(0.1 + index, 1e300),
        "any": [PEERS.any(False), PEERS.any(index == 1)],
        "exchanged": [one.decode() for one in PEERS.exchanged(b"ab" * index)],
        "large": [len(one) for one in PEERS.exchanged(bytes(100_000 * (index + 1)))],
        "told": PEERS.told({"path": f"runs/{index}", "old": False}),
        "spread": [
            [item, found[0].tolist()]
            for item, found in PEERS.spread(range(7), lambda items: [[np.array([b"%d" % one, b""])] for one in items])
        ],
        "alike": refused({"seed": "1"}),
        "differ": refused({"seed": "1", "--epochs": str(2 + (index == 1))}),
    }


def plain(value):
    """Bytes as text, for JSON."""
    return value.decode() if isinstance(value, bytes) else value


def main(folder):
    found = exchanges()
    (folder / f"exchanges-{PEERS.index}.json").write_text(json.dumps(found, default=plain))
    for job, settings in json.loads((folder / "jobs.json").read_text()).items():
        trainer = made(strategy=STRATEGY, **settings)
        facts = trained(trainer)
        np.savez(folder / f"{job}-{PEERS.index}.npz", **trainer.weights())
        served = served_model.of_model(trainer.recipe, trainer.model, trainer.config, STRATEGY)
        measured = served.measures(made_up(settings["name"], 300)) if settings["name"] == "sentiment" else {}
        (folder / f"{job}-{PEERS.index}.json").write_text(json.dumps([facts, measured]))
    PEERS.any(False)  # nobody leaves before the others are done


if __name__ == "__main__":
    main(Path(sys.argv[1]))
