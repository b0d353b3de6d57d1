"""Where the variables live and the steps run: a tf.distribute strategy from a word, and what its processes agree on.

All exchange between devices and machines is TensorFlow's: collective operations over gRPC or NCCL. In which order they
are called must be the same in all processes, so nothing that decides it may differ between them: clocks are those of
worker 0 (`WorkerGroup.broadcast_floats`), signals are everybody's (`WorkerGroup.any_worker`).
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from common.errors import ConfigError, DataError, RunError, WorkerLostError
from common.runtime.signals import handle_stop_signals
from common.training.devices import select_devices
from common.training.tf_config import WorkerSpec, read_tf_config

Item = TypeVar("Item")
# How TensorFlow tells that another process is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
REPLICA_SHIFT = 32  # bits by which a replica's number is moved to be added to the seeds of its random streams


# The strategy


def create_strategy(wanted: str = "auto", devices: str | None = None) -> tuple[tf.distribute.Strategy, str]:
    """Return (strategy, why it was chosen); to be called before anything else touches TensorFlow's devices.

    Args:
      wanted: auto, one-device, mirrored or multi-worker. Auto takes workers where the environment names a cluster,
        mirrored where there are several GPUs, else one device.
      devices: numbers of GPUs such as 0,1; or cpu:N for N virtual CPU devices; None for all that there are.

    Raises:
      ConfigError: there are no such devices, or the environment says otherwise.
    """
    job = read_tf_config()
    if job and wanted in ("one-device", "mirrored"):
        raise ConfigError(
            f"--strategy {wanted} trains in one process, but TF_CONFIG in the environment names"
            f" {len(job.workers)} workers. Unset TF_CONFIG, or leave --strategy out."
        )
    if wanted == "multi-worker" and not job:
        raise ConfigError(
            "--strategy multi-worker needs several workers, but TF_CONFIG in the environment is not set, or names one"
            " alone. Start them by: python cli.py launch --workers 2 run ..."
        )
    names = select_devices(devices, wanted, job is not None)
    if job:
        return _join_workers(job), f"TF_CONFIG makes this worker {job.index} of {len(job.workers)}"
    if wanted == "one-device" or (wanted == "auto" and len(names) < 2):
        reason = "as asked for" if wanted == "one-device" else f"the only device is {names[0]}"
        return tf.distribute.get_strategy(), reason
    if len(names) < 2:
        raise ConfigError(
            f"--strategy mirrored needs several devices, and there is one, {names[0]}. Leave it out, or try it on"
            " virtual devices by --devices cpu:2."
        )
    return tf.distribute.MirroredStrategy(names), "as asked for" if wanted == "mirrored" else "several devices"


def _join_workers(job: WorkerSpec) -> tf.distribute.Strategy:
    try:
        with _allow_kill():  # a worker that has not come yet is waited for in here
            return tf.distribute.MultiWorkerMirroredStrategy()
    except _LOST as error:
        raise WorkerLostError(
            f"Not all workers came ({error.message.splitlines()[0]}). Start all of them again."
        ) from None
    except tf.errors.OpError as error:
        raise RunError(
            f"Worker {job.index} cannot speak to the others at {job.workers[job.index]} ({error.message})."
            " See that this address is this machine's and that no other program uses its port."
        ) from None


@contextmanager
def _allow_kill() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process at once within the block, even in the midst of TensorFlow's code."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handle_stop_signals(signal.SIG_DFL):
        yield


def create_local_strategy(devices: str | None) -> tf.distribute.Strategy:
    """Return the strategy of a command that is no training: all GPUs of this machine, or the devices that are named."""
    names = select_devices(devices, "auto", in_cluster=False)
    return tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy()


def describe_strategy(strategy: tf.distribute.Strategy) -> str:
    """Return the strategy and its devices, for people."""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return f"{strategy.num_replicas_in_sync} replicas of several workers"
    if strategy.num_replicas_in_sync > 1:
        names = (name.rpartition("device:")[2] for name in strategy.extended.worker_devices)
        return f"mirrored on {', '.join(names)}"
    return "one device"


def lstm_kernel_name() -> str:
    """Return which implementation of LSTMs runs here."""
    return "cuDNN" if tf.config.get_visible_devices("GPU") else "plain (a while loop of matrix products on the CPU)"


def offset_replica_seeds(strategy: tf.distribute.Strategy, states: Sequence[keras.Variable]) -> None:
    """Give each replica random streams of its own: those of (seed + replica * 2**32, step).

    A replica draws as often as the others, so that its numbers depend on the seed, the step and its place alone. The
    first replica's are those of training on one device.

    Args:
      states: [seed, count] of Keras's SeedGenerators, alike in all replicas.
    """
    if strategy.num_replicas_in_sync == 1:
        return

    def on_replica() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for state in states:
            shift = tf.bitwise.left_shift(tf.cast(replica, state.value.dtype), REPLICA_SHIFT)
            state.assign(state.value + tf.stack([shift, tf.zeros_like(shift)]))

    tf.function(lambda: strategy.run(on_replica), autograph=False)()


# What processes agree on


class WorkerGroup:
    """The processes that run a strategy together, seen from one of them.

    Each of the methods that exchange something must be called by all of them, in the same order; in a process that is
    alone they return at once.

    Args:
      strategy: theirs.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        job = read_tf_config() if several else None
        self.index, self.count = (job.index, len(job.workers)) if job else (0, 1)
        self.local = strategy.num_replicas_in_sync // self.count  # replicas in this process
        self._sum = tf.function(self._all_reduce, autograph=False)

    def is_worker_failure(self, error: BaseException) -> bool:
        """Whether this is how TensorFlow tells that another process is gone."""
        return self.count > 1 and isinstance(error, _LOST)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    def local_replica_id(self) -> int:
        """Return which of this process's replicas it is in whose context this is called, from 0."""
        context = tf.distribute.get_replica_context()
        number = tf.get_static_value(tf.convert_to_tensor(context.replica_id_in_sync_group))
        return int(number) - self.index * self.local

    def run_on_replicas(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """Return what `function` makes of each argument, the first on the first replica here and so on; in graph."""
        results = self.strategy.run(lambda: function(arguments[self.local_replica_id()]))
        columns = [self.strategy.experimental_local_results(value) for value in tf.nest.flatten(results)]
        return [tf.nest.pack_sequence_as(results, values) for values in zip(*columns, strict=True)]

    def _all_reduce(self, words: tf.Tensor) -> tf.Tensor:
        def on_replica() -> tf.Tensor:
            value = tf.identity(words) if self.local_replica_id() == 0 else tf.zeros_like(words)
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)

        return self.strategy.experimental_local_results(self.strategy.run(on_replica))[0]

    def _gather(self, words: np.ndarray, place: int, size: int) -> np.ndarray:
        """Return words of 8 bytes of all processes, each at a place of its own among `size`."""
        whole = np.zeros(size, np.int64)
        whole[place : place + len(words)] = words
        return self._sum(tf.constant(whole)).numpy()

    def broadcast_floats(self, *numbers: float) -> tuple[float, ...]:
        """Return worker 0's numbers."""
        if self.count == 1:
            return numbers
        words = np.array(numbers, np.float64).view(np.int64) if self.is_chief else np.zeros(0, np.int64)
        return tuple(self._gather(words, 0, len(numbers)).view(np.float64).tolist())

    def any_worker(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        return flag if self.count == 1 else bool(self._gather(np.array([flag], np.int64), 0, 1)[0])

    def all_gather_bytes(self, data: bytes) -> list[bytes]:
        """Return what each process gives, in order of the workers."""
        if self.count == 1:
            return [data]
        lengths = self._gather(np.array([len(data)], np.int64), self.index, self.count)
        words = -(-lengths // 8)
        starts = np.concatenate([[0], np.cumsum(words)])
        # The sum of words of which all but one are 0; few sizes, for each is compiled.
        own = np.frombuffer(data.ljust(int(words[self.index]) * 8, b"\0"), np.int64)
        size = 1 << int(starts[-1]).bit_length()
        whole = self._gather(own, int(starts[self.index]), size).tobytes()
        return [whole[8 * start : 8 * start + length] for start, length in zip(starts, lengths, strict=False)]

    def broadcast_json(self, value: Any) -> Any:
        """Return worker 0's value, which JSON can hold."""
        return json.loads(self.all_gather_bytes(json.dumps(value).encode() if self.is_chief else b"")[0])

    def assert_identical(self, facts: Mapping[str, str]) -> None:
        """Check before training whether the processes have been started alike.

        Raises:
          RunError: they differ in one of the facts, which is named.
        """
        all_facts = [json.loads(data) for data in self.all_gather_bytes(json.dumps(facts).encode())]
        for number, worker_facts in enumerate(all_facts):
            for name in sorted(all_facts[0].keys() | worker_facts.keys()):
                first, second = all_facts[0].get(name, "none"), worker_facts.get(name, "none")
                if first != second:
                    raise RunError(
                        f"Worker {number} differs from worker 0 in {name}: {second}, not {first}. Start all workers by"
                        " the same command, with the same code and data."
                    )

    def map_over_replicas(
        self, items: Iterable[Item], compute: Callable[[list[Item]], list[list[np.ndarray]]]
    ) -> Iterator[tuple[Item, list[np.ndarray]]]:
        """Yield (item, what it gives), in order; each item is one replica's, and every process has all that they give.

        Args:
          items: alike in all processes.
          compute: the arrays that each of `local` items gives, one item for each replica of this process.
        """
        iterator, first = iter(items), self.index * self.local
        while group := list(islice(iterator, self.count * self.local)):
            places = range(first, first + self.local)
            # Replicas for which nothing is left do the last one's work again, in vain.
            results = compute([group[min(place, len(group) - 1)] for place in places])
            own = [result for place, result in zip(places, results, strict=True) if place < len(group)]
            if self.count > 1:
                own = [
                    result
                    for data in self.all_gather_bytes(serialize_arrays(own))
                    for result in deserialize_arrays(data)
                ]
            yield from zip(group, own, strict=True)

    def run_and_share_errors(self, work: Callable[[], Item]) -> Item:
        """Return what the work gives here; where it fails in one process with an error for people, it fails in all.

        Raises:
          RunError: it failed in another process, whose words these are.
        """
        if self.count == 1:
            return work()
        failure, result = None, None
        try:
            result = work()
        except (ConfigError, DataError, RunError, OSError) as error:
            failure = error
        messages = [data.decode() for data in self.all_gather_bytes(str(failure).encode() if failure else b"")]
        if failure:
            raise failure
        for number, message in enumerate(messages):
            if message:
                raise RunError(f"Worker {number} has failed: {message}")
        return result  # type: ignore[return-value]  # None is what the work gave

    def broadcast_variables(self, variables: Sequence[keras.Variable]) -> None:
        """Give all processes worker 0's values of these variables."""
        if self.count == 1 or not variables:
            return
        data = serialize_arrays([[variable.numpy() for variable in variables]]) if self.is_chief else b""
        [values] = deserialize_arrays(self.all_gather_bytes(data)[0])
        if not self.is_chief:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)


def serialize_arrays(groups: Sequence[Sequence[np.ndarray]]) -> bytes:
    """Return groups of arrays, of strings too, as bytes.

    >>> data = serialize_arrays([[np.array([b"a", b"bc"])], [np.arange(2)]])
    >>> [[array.tolist() for array in group] for group in deserialize_arrays(data)]
    [[[b'a', b'bc']], [[0, 1]]]
    """
    tensors = [[tf.constant(array) for array in group] for group in groups]
    blobs = [[tf.io.serialize_tensor(tensor).numpy() for tensor in group] for group in tensors]
    head = [
        [(tensor.dtype.name, len(blob)) for tensor, blob in zip(group, group_blobs, strict=True)]
        for group, group_blobs in zip(tensors, blobs, strict=True)
    ]
    return json.dumps(head).encode() + b"\n" + b"".join(blob for group in blobs for blob in group)


def deserialize_arrays(data: bytes) -> Iterator[list[np.ndarray]]:
    """Yield the groups of arrays that `serialize_arrays` has made bytes of."""
    head, _, rest = data.partition(b"\n")
    start = 0
    for group in json.loads(head):
        arrays = []
        for name, length in group:
            arrays.append(tf.io.parse_tensor(rest[start : start + length], tf.as_dtype(name)).numpy())
            start += length
        yield arrays
