"""The processes of a training over several machines, as the environment names them; pure Python."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from common.config import NO_PARAMETER_SERVERS
from common.errors import ConfigError


@dataclass(frozen=True)
class WorkerSpec:
    """The processes of a job, one on each machine or several on one, and which of them this is.

    Args:
      workers: their addresses, HOST:PORT; the first one's process writes the run.
      index: of this process among them.
    """

    workers: tuple[str, ...]
    index: int


def read_tf_config() -> WorkerSpec | None:
    """Return what TF_CONFIG names, as Kubeflow and `cli.py launch` set it; None if there are not several workers.

    Raises:
      ConfigError: it is no JSON object of a cluster and a task, or has tasks that are not workers.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return None
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        addresses = {str(name): [str(address) for address in jobs[name]] for name in jobs}
        kind, number = str(task["type"]), int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"TF_CONFIG in the environment cannot be used ({type(error).__name__}: {error}). It must be JSON such"
            ' as {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}; or unset it.'
        ) from None
    if "ps" in addresses or kind == "ps":
        raise ConfigError(f"TF_CONFIG in the environment names parameter servers; {NO_PARAMETER_SERVERS}")
    if kind == "evaluator":
        raise ConfigError("TF_CONFIG makes this process an evaluator, but the workers evaluate: start these alone.")
    workers = [*addresses.get("chief", ()), *addresses.get("worker", ())]
    if kind not in ("chief", "worker") or not 0 <= number < len(addresses.get(kind, ())):
        raise ConfigError(
            f"TF_CONFIG makes this process {kind} {number}, whom its cluster does not have"
            f" ({', '.join(workers) or 'nobody is in it'}). Give each process an index of its own, from 0."
        )
    index = number + (len(addresses.get("chief", ())) if kind == "worker" else 0)
    return WorkerSpec(tuple(workers), index) if len(workers) > 1 else None
