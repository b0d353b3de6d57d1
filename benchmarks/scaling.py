"""What training by several replicas costs on this machine, and what it would cost on a network.

    python benchmarks/scaling.py                              # every recipe on its default data, about 20 minutes
    python benchmarks/scaling.py ner --replicas 2             # a look
    python benchmarks/scaling.py --json found.json            # and keep what was measured
    python benchmarks/scaling.py --model found.json           # measure nothing: a step's time on networks, from that

Each recipe trains at its default size with the same batches in each layout: on one device, on virtual CPU devices of
one process (--devices cpu:N), and as N processes on loopback (`launch --workers N`). Each layout is a process, or N, of
its own; after a first part, which compiles, rounds alternate between the layouts, and medians are quoted.

What the columns say:
  examples/s   trained on; replicas on one machine share its cores, so this cannot rise with them: the loss is overhead
  ms a step    without validation and checkpoints
  MB a step    that each process sends, as /proc/net/dev counts all bytes on loopback, those of other programs too; 0
               where devices share a process
  input        share of the time in which the step waits for its rows
  all-reduce   share that an all-reduce of the same shapes takes when it is done alone by the same processes
  compute      the rest, in it the waiting of replicas for each other, since only some of them run at a time

Under the table stands what a step must exchange: the gradients as float32, those of embeddings with a column more.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import networks  # noqa: E402
from common import discovery  # noqa: E402
from common.commands import launch  # noqa: E402

Group = list["subprocess.Popen[str]"]
FOREVER = 10**6  # epochs, so that training never ends by itself
REDUCES = 5  # of a round, alone
SHARED = "Replicas on one machine share its cores: examples a second cannot rise with them, and the loss is overhead."


@dataclasses.dataclass(frozen=True)
class Layout:
    """How replicas stand: `replicas` of them, divided over so many processes."""

    replicas: int
    processes: int

    @property
    def name(self) -> str:
        if self.replicas == 1:
            return "one device"
        return f"cpu:{self.replicas}" if self.processes == 1 else f"{self.processes} processes"


def layouts(counts: Sequence[int]) -> list[Layout]:
    """Both ways to have so many replicas; one replica is the same in both.

    >>> [layout.name for layout in layouts([1, 2])]
    ['one device', 'cpu:2', '2 processes']
    """
    return list(dict.fromkeys(Layout(count, processes) for count in counts for processes in (1, count)))


# In a process of a layout


def child(recipe: str, config_file: Path, devices: str) -> None:
    """Trains when it is told to by a line, and answers by a line of JSON."""
    from common.commands.run import setup_tensorflow
    from common.config_io import load_toml
    from common.runtime.console import mute
    from common.runtime.tensorflow_setup import library_versions, set_seed
    from common.training.tf_config import read_tf_config

    if (found := read_tf_config()) and found.index:
        mute()
    config_class = discovery.load_recipe_config(recipe).Config
    told = load_toml(config_class, config_file) | {"epochs": FOREVER, "devices": devices or None}
    config = config_class(**told)
    try:
        strategy = setup_tensorflow(config)
        from common.training.encoded_dataset import prepare_run

        ready = prepare_run(recipe, config, library_versions())
    except ValueError as error:  # of common.errors: one sentence
        sys.exit(f"Error: {error}")
    from common.modeling.layers.normalization import BatchNormalization
    from common.training.trainer import Trainer

    set_seed(config.seed)
    trainer = Trainer(ready.recipe, ready.config, ready.stores["train"], None, strategy)
    shapes = noted_shapes(trainer.optimizer)
    calls = trained(trainer)
    next(calls)  # this one compiles
    reduce = reducing(strategy, shapes)
    reduce(1)
    size = 4 * sum(map(math.prod, shapes))
    norms = sum(isinstance(layer, BatchNormalization) for layer in trainer.model.layers)
    answer({"parameters": trainer.model.count_params(), "gradient_bytes": size, "norms": norms})
    for line in sys.stdin:
        what, number = line.split()
        if what == "reduce":
            began = time.perf_counter()
            reduce(int(number))
            answer((time.perf_counter() - began) / int(number))
        else:
            answer(part(calls, float(number)))
    ready.close()


def answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


def noted_shapes(optimizer: Any) -> list[list[int]]:
    """Filled, when a step is compiled, with the shapes that its replicas exchange.

    See common.training.optimizer._all_reduce.
    """
    import tensorflow as tf

    shapes: list[list[int]] = []
    apply = optimizer.apply

    def noting(gradients: Sequence[Any], weight: Any, rate: Any) -> None:
        found = [[]]  # the sum of weights is a number
        for variable, gradient in zip(optimizer.variables, gradients, strict=True):
            if gradient is not None:
                shape = variable.shape.as_list()
                shape[-1] += isinstance(gradient, tf.IndexedSlices)
                found.append(shape)
        shapes[:] = found
        apply(gradients, weight, rate)

    optimizer.apply = noting
    return shapes


def reducing(strategy: Any, shapes: Sequence[Sequence[int]]) -> Any:
    """A function that does so many all-reduces of these shapes, one after the other."""
    import tensorflow as tf

    def once(value: Any) -> Any:
        values = [tf.fill(shape, value) for shape in shapes]
        summed = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
        return tf.add_n([tf.reshape(one, [-1])[0] for one in summed])

    def again(number: Any, value: Any) -> tuple[Any, Any]:
        results = strategy.experimental_local_results(strategy.run(once, args=(value,)))
        return number + 1, tf.minimum(tf.add_n(list(results)), 1.0)

    @tf.function(autograph=False)
    def many(count: Any) -> Any:
        # Each one needs a number out of the one before, so that none is left out or done ahead; it is always 1.
        start = (tf.constant(0), tf.ones([]))
        return tf.while_loop(lambda number, _: number < count, again, start, parallel_iterations=1)[1]

    return lambda count: float(many(tf.constant(count)))


def trained(trainer: Any) -> Iterator[tuple[int, int, float, float]]:
    """(steps, examples, seconds, seconds of waiting for input) of each call of the compiled loop."""
    from common.training.trainer import EpochResult

    steps, examples, seconds, waited = 0, 0, 0.0, 0.0
    for fact in trainer.fit():
        if isinstance(fact, EpochResult):
            steps, examples, seconds, waited = 0, 0, 0.0, 0.0
            continue
        done = int(trainer.ends[fact.step - 1])
        yield fact.step - steps, done - examples, trainer.epoch_seconds - seconds, trainer.input_wait_seconds - waited
        steps, examples, seconds, waited = fact.step, done, trainer.epoch_seconds, trainer.input_wait_seconds


def part(calls: Iterator[tuple[int, int, float, float]], least: float) -> list[float]:
    """The sums of calls that last so many seconds together; all processes of a layout count the same seconds."""
    sums = [0.0] * 4
    while sums[2] < least:
        sums = [total + one for total, one in zip(sums, next(calls), strict=True)]
    return sums


# In the process that measures


def started(recipe: str, config_file: Path, layout: Layout) -> Group:
    """The processes of a layout, in order of the workers."""
    devices = f"cpu:{layout.replicas}" if layout.replicas > layout.processes else ""
    environments: list[dict[str, str]] = [{}]
    if layout.processes > 1:
        addresses, shares = (
            launch.find_free_addresses(layout.processes),
            launch.make_worker_environments(layout.processes),
        )
        environments = [{**one, "TF_CONFIG": launch.make_tf_config(addresses, i)} for i, one in enumerate(shares)]
    words = [sys.executable, __file__, "--child", recipe, str(config_file), devices]
    return [
        subprocess.Popen(words, env={**os.environ, **one}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for one in environments
    ]


def told(group: Group, line: str = "") -> Any:
    """What the first process of a layout answers when all are told a line; without one, when they are ready."""
    for one in group if line else []:
        assert one.stdin
        one.stdin.write(line + "\n")
        one.stdin.flush()
    answers = [one.stdout.readline() for one in group if one.stdout]
    if not all(answers):
        sys.exit("A process failed; its error is above.")
    return json.loads(answers[0])


def loopback_bytes(text: str) -> int:
    """What was received on loopback, out of the text of /proc/net/dev; what is sent there is received there.

    >>> loopback_bytes("  eth0: 9 1 0 0\\n    lo:170 3 0 0\\n")
    170
    """
    for line in text.splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[0])
    raise ValueError("/proc/net/dev has no line of lo")


def one_round(group: Group, layout: Layout, seconds: float) -> dict[str, float]:
    """What a round of a layout measured."""
    counters = Path("/proc/net/dev")
    before = loopback_bytes(counters.read_text(encoding="ascii"))
    steps, examples, spent, waited = told(group, f"train {seconds}")
    sent = loopback_bytes(counters.read_text(encoding="ascii")) - before if layout.processes > 1 else 0
    found = {"rate": examples / spent, "step": spent / steps, "rows": examples / steps, "input": waited / steps}
    reduced = told(group, f"reduce {REDUCES}") if layout.replicas > 1 else 0.0
    return found | {"bytes": sent / steps / layout.processes, "reduce": reduced}


def measured(recipe: str, given: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Medians of the rounds of each layout."""
    words = [sys.executable, str(ROOT / "cli.py"), "run", recipe, *given.ours, "--print-config"]
    printed = subprocess.run(words, stdout=subprocess.PIPE)
    if printed.returncode:
        sys.exit(printed.returncode)  # it has said why
    config_file = place / f"{Path(recipe).name}.toml"
    config_file.write_bytes(printed.stdout)
    groups: dict[Layout, Group] = {}
    rounds: dict[Layout, list[dict[str, float]]] = {}
    about: dict[str, Any] = {}
    try:
        for layout in layouts([1, *given.replicas]):
            groups[layout] = started(recipe, config_file, layout)
            about, rounds[layout] = told(groups[layout]), []
        for number in range(given.rounds + 1):
            for layout, group in groups.items():
                found = one_round(group, layout, given.seconds)
                rate = f"{found['rate']:,.0f} examples/s"
                print(f"{recipe}, round {number}, {layout.name}: {rate}", file=sys.stderr, flush=True)
                if number:  # the first one warms up
                    rounds[layout].append(found)
    finally:
        for one in (one for group in groups.values() for one in group):
            one.kill()
            one.wait()
    medians = [
        dataclasses.asdict(layout) | {key: statistics.median(one[key] for one in found) for key in found[0]}
        for layout, found in rounds.items()
    ]
    return about | {"layouts": medians}


def rows(recipe: str, found: dict[str, Any]) -> Iterator[str]:
    """The lines of a recipe in the table."""
    for row in found["layouts"]:
        name = Layout(row["replicas"], row["processes"]).name
        shares = [row["input"] / row["step"], row["reduce"] / row["step"]]
        shown = " | ".join(f"{share:.0%}" for share in (*shares, max(0.0, 1 - sum(shares))))
        speed = f"{row['rate']:,.1f} | {1000 * row['step']:.1f} | {row['bytes'] / 1e6:.2f}"
        yield f"| {recipe} | {name} | {speed} | {shown} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="all of them, unless named")
    parser.add_argument("--replicas", type=int, nargs="+", default=[2, 4], metavar="N", help="besides one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of training in a round of a layout, at least")
    parser.add_argument("--json", type=Path, help="write the results there too")
    parser.add_argument("--model", type=Path, metavar="JSON", help="compute the table of networks from such results")
    parser.add_argument("--latency", type=float, default=20.0, help="of a message in that table, in microseconds")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--ours", nargs=argparse.REMAINDER, default=[], help="flags for `run RECIPE`; comes last")
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]), given.child[2])
        return
    if given.model:
        try:
            results = json.loads(given.model.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            sys.exit(f"Error: {given.model} cannot be used ({error}). Name a file that --json has written.")
        print(networks.modelled(results, given.latency / 1e6))
        return
    print(
        "| recipe | layout | examples/s | ms a step | MB a step | input | all-reduce | compute |\n" + "|---" * 8 + "|"
    )
    results = {}
    with tempfile.TemporaryDirectory() as place:
        for recipe in given.recipes or discovery.list_recipes():
            results[recipe] = measured(recipe, given, Path(place))
            print("\n".join(rows(recipe, results[recipe])), flush=True)
            if given.json:  # after each, for the whole takes long
                given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for recipe, found in results.items():
        size = f"{found['gradient_bytes'] / 1e6:.2f} MB of gradients a step"
        print(f"\n{recipe}: {found['parameters']:,} weights, {size}", end="")
    print(f"\n\n{SHARED}")


if __name__ == "__main__":
    main()
