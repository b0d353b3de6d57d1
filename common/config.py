"""A run's settings: a frozen dataclass whose fields carry type, default, range and help; and where values come from.

Pure Python, so that help and usage errors answer without TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from common.errors import ConfigError, suggestion

OWN_SHARE = "own_share"  # key of assets: the share of the training part that is not a source's (`--replay`)
TUNING = "Fine-tuning"  # the group of settings that need a source
GROUPS = ("Model", "Data", "Training", TUNING)  # of settings, in the order in which people see them
KEPT, TAKEN, OWN = "kept", "taken", "own"  # what a run that is fine-tuned does with a value of its source


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    refused: Mapping[str, str] | None = None,
    metavar: str | None = None,
    shown: str | None = None,
    group: str = "Model",
    source: str | None = None,
    affects_encoding: bool | None = None,
) -> Any:
    """A dataclass field that is also a command-line option.

    Args:
      low, high: the range, bounds included.
      above, below: the range, bounds excluded.
      refused: what users of other programs may look for among the choices, and why it is not there and what is.
      shown: what help shows as the default, where the value itself does not tell.
      group: the heading under which help lists it.
      source: where a run is fine-tuned from another, whether the other's value is "kept", for weights depend on it;
        "taken" unless one is given; or of no concern ("own"). Of the group Model it is kept, else of no concern.
      affects_encoding: whether loading, learning from or encoding the data may depend on it, so that encoded data of
        another value must not be used again. All settings do unless this says otherwise, but for those of training and
        of fine-tuning.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "above": above,
        "below": below,
        "choices": choices,
        "refused": refused or {},
        "metavar": metavar,
        "shown": shown,
        "group": group,
        "source": source or (KEPT if group == "Model" else OWN),
        "affects_encoding": group not in ("Training", TUNING) if affects_encoding is None else affects_encoding,
    }
    return dataclasses.field(default=default, metadata=metadata)


# Options of the network or of its training alone, on which encoded data does not depend.
network_option = partial(option, affects_encoding=False)
_data = partial(option, group="Data")
_training = partial(option, group="Training")
_tuning = partial(option, group=TUNING)


NO_PARAMETER_SERVERS = (
    "parameter servers are not supported: their workers step out of turn, and no run could be repeated. Use --strategy"
    " workers, where all step together."
)
STRATEGIES_REFUSED = {
    "parameter-server": NO_PARAMETER_SERVERS,
    "ps": NO_PARAMETER_SERVERS,
    "central-storage": "central storage is experimental in TensorFlow, and slower than a copy of the variables on each"
    " device. Use --strategy mirrored.",
    "tpu": "TPUs are not supported, for they need other input and padding. Use GPUs, with --strategy mirrored or"
    " workers.",
}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The settings that all recipes share; a recipe's own Config adds fields and changes defaults."""

    data: tuple[str, ...] = _data(
        (),
        "What to train on: a file, a quoted glob, folders of texts, TEXTS,LABELS or tfds:NAME; repeat for several.",
        metavar="SRC",
        shown="the recipe's own set",
    )
    valid: tuple[str, ...] = _data(
        (), "What to choose the best weights on; nothing is then split off --data.", metavar="SRC"
    )
    test: tuple[str, ...] = _data((), "What to score at the end.", metavar="SRC")
    column: tuple[str, ...] = _data(
        (), "Which column holds what, such as text=review or label=2; repeat for several.", metavar="FIELD=COLUMN"
    )
    label_names: str | None = _data(
        None,
        "Names of labels, in a file with a code, a tab and a name on each line.",
        metavar="FILE",
        shown="as in the data",
    )
    split: str = _data(
        "80,10,10", "Shares of --data for training, validation and test, by stable hash.", metavar="A,B,C"
    )
    encoding: str | None = _data(None, "Encoding of text files.", metavar="NAME", shown="found from the bytes")
    limit: int | None = _data(None, "Use a fixed random sample of N examples of each part only.", low=1, metavar="N")
    keep_encoded: bool = _data(
        True, "Keep the encoded data for the next run on the same data and settings.", affects_encoding=False
    )
    strict: bool = _data(False, "Stop at the first broken row instead of skipping and counting it.")
    offline: bool = _data(False, "Never use the network.", affects_encoding=False)

    epochs: int | None = _training(None, "Passes over the training data.", low=1, shown="fits the data")
    max_minutes: float | None = _training(
        None, "Stop cleanly after so many minutes of training, with a schedule that ends by then.", above=0
    )
    batch_size: int = _training(64, "Examples in a batch, over all replicas.", low=1)
    batch_type: str = _training(
        "examples", "What --batch-size counts: examples, or tokens with their padding.", choices=("examples", "tokens")
    )
    accumulate: int = _training(
        1, "Compute the gradient of a batch in so many parts, one after the other, to save memory.", low=1
    )
    learning_rate: float = _training(1e-3, "Highest learning rate of the schedule.", above=0, below=10)
    scale_rate: str = _training(
        "none",
        "Multiply the learning rate by --batch-size over its default, or by the root of that.",
        choices=("none", "linear", "root"),
    )
    schedule: str = _training(
        "cosine", "Learning rate after the warm-up.", choices=("cosine", "linear", "inverse-sqrt", "constant")
    )
    warmup: float = _training(0.1, "Share of the training over which the learning rate rises from 0.", low=0, below=1)
    weight_decay: float = _training(0.0, "Decoupled weight decay of matrices, per unit of learning rate.", low=0)
    clip_norm: float = _training(1.0, "Largest norm of all gradients together; 0 for no limit.", low=0)
    average: float = _training(
        0.0, "Decay of the moving average of weights that is evaluated and kept; 0 for none.", low=0, below=1
    )
    label_smoothing: float = _training(0.0, "Share of the target spread evenly over all labels.", low=0, below=1)
    class_weights: str = _training(
        "none", "Weigh labels equally (balanced) or by their number (none).", choices=("none", "balanced")
    )
    precision: str = _training(
        "float32", "Arithmetic of the layers; variables stay float32.", choices=("float32", "bfloat16", "float16")
    )
    patience: int = _training(5, "Stop when validation has not improved for so many epochs; 0 for never.", low=0)
    noise: bool = _training(True, "Dropout, augmentation and all other random regularisers.")
    strategy: str = _training(
        "auto",
        "Where to train: one device, several of this machine (mirrored), or the workers that TF_CONFIG names.",
        choices=("auto", "one", "mirrored", "workers"),
        refused=STRATEGIES_REFUSED,
    )
    devices: str | None = _training(
        None, "Numbers of the GPUs to use, such as 0,1; cpu:N for N virtual devices.", metavar="LIST", shown="all GPUs"
    )
    checkpoint_minutes: float = _training(
        10.0, "Save a checkpoint this often within an epoch, besides after each.", above=0
    )
    deterministic: bool = _training(False, "Only reproducible TensorFlow ops; on CPU runs are reproducible without it.")
    seed: int = _training(1, "Start of all random numbers: weights, order, noise.", low=0, high=2**31 - 1)

    init_from: str | None = _tuning(
        None,
        "Begin with the weights of a run, of an export, or of an .npz file.",
        metavar="RUN|EXPORT|FILE",
        shown="from scratch",
        affects_encoding=True,
    )
    freeze: str | None = _tuning(
        None,
        "The part of the network, such as encoder, that stays as it is with all before it.",
        metavar="PART",
        shown="none",
    )
    unfreeze: float = _tuning(
        0.0,
        "Share of the training over which the parts begin to learn one by one, the last one first.",
        low=0,
        below=1,
    )
    part_rate: float = _tuning(1.0, "Learning rate of a part by that of the part after it.", above=0, high=1)
    fresh_first: float = _tuning(
        0.0, "Share of the training in which layers with kept weights stay as they are.", low=0, below=1
    )
    anchor: float = _tuning(
        0.0,
        "Pull weights from the source to where they began, per unit of learning rate; in place of --weight-decay.",
        low=0,
    )
    replay: float = _tuning(
        0.0, "Share of the source's own training data that is trained on, too.", low=0, high=1, affects_encoding=True
    )
    compare: bool = _tuning(False, "Train from scratch on the same data, too, and compare.")
    folds: int | None = _tuning(
        None,
        "Also train on all but one of so many parts of the data by turns, and score on the one left out.",
        low=2,
        high=100,
        shown="none",
    )


def passes(
    config: RunConfig, assets: Mapping[str, Any], examples: float, seen: int, least: int, most: int, fill: bool = True
) -> int | None:
    """How many epochs a run is to have: those asked for, or as many as make `seen` examples, within bounds.

    >>> passes(RunConfig(), {}, 5_000, seen=100_000, least=10, most=60)
    20
    >>> passes(RunConfig(max_minutes=10), {}, 5_000, seen=100_000, least=10, most=60) is None
    True

    Args:
      assets: of the run. Of a training part with a source's examples (`--replay`) only the others count, which are
        what is to be learned.
      examples: of the training part.
      fill: a longer training makes the model better, so that --max-minutes alone is used up. It never is where a run
        is fine-tuned: little data is soon learned by heart.

    Returns:
      None for as many as the time allows.
    """
    if config.epochs is not None:
        return config.epochs
    if config.max_minutes is not None and fill and config.init_from is None:
        return None
    return min(max(round(seen / max(examples * assets.get(OWN_SHARE, 1), 1)), least), most)


def refuse(config: RunConfig, names: Sequence[str], why: str) -> None:
    """Sees that settings that mean nothing to a recipe are left out.

    Raises:
      ConfigError: one of them is not its default.

    >>> refuse(RunConfig(class_weights="balanced"), ["class_weights"], "it is of labels")
    Traceback (most recent call last):
    common.errors.ConfigError: --class-weights is given, but it is of labels: leave it out.
    """
    for name in names:
        if getattr(config, name) != settings(type(config))[name].default:
            raise ConfigError(f"--{name.replace('_', '-')} is given, but {why}: leave it out.")


ConfigType = type[RunConfig]


@dataclasses.dataclass(frozen=True)
class Setting:
    """A config field as the command line and files see it."""

    name: str
    type: type  # of one value: int, float, bool or str
    many: bool
    optional: bool
    default: Any
    metadata: Mapping[str, Any]

    @property
    def flag(self) -> str:
        return "--" + self.name.rstrip("_").replace("_", "-")  # continue_, since continue is Python's


def settings(config_class: ConfigType) -> dict[str, Setting]:
    """The fields of a config class by name, their types worked out."""
    hints = typing.get_type_hints(config_class)
    found = {}
    for item in dataclasses.fields(config_class):
        hint, many = hints[item.name], False
        if typing.get_origin(hint) is tuple:
            hint, many = typing.get_args(hint)[0], True
        elif isinstance(hint, types.UnionType):
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        optional = item.default is None  # of those typed int, too, which a recipe fills in by the data
        found[item.name] = Setting(item.name, hint, many, optional, item.default, item.metadata)
    return found


def _one(setting: Setting, value: Any, place: str) -> Any:
    kind, limits = setting.type, setting.metadata
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
        raise ConfigError(f"{place}: {setting.name} is {value!r}, but must be {names[kind]}.")
    if value in limits["refused"]:
        raise ConfigError(f"{place}: {setting.name} cannot be {value}: {limits['refused'][value]}")
    if limits["choices"] and value not in limits["choices"]:
        raise ConfigError(f"{place}: {setting.name} is {value!r}, but must be one of {', '.join(limits['choices'])}.")
    tests: list[tuple[str, str, Callable[[Any, Any], bool]]] = [
        ("low", "at least", lambda a, b: a >= b),
        ("high", "at most", lambda a, b: a <= b),
        ("above", "above", lambda a, b: a > b),
        ("below", "below", lambda a, b: a < b),
    ]
    for key, words, holds in tests:
        if limits[key] is not None and not holds(value, limits[key]):
            raise ConfigError(f"{place}: {setting.name} is {value}, but must be {words} {limits[key]}.")
    return value


def checked(config_class: ConfigType, values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The values with their types and ranges checked.

    Raises:
      ConfigError: an unknown name or a value of a wrong type or out of range.
    """
    known = settings(config_class)
    good: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            raise ConfigError(f'{place}: there is no setting "{key}".{suggestion(name, known)}')
        setting = known[name]
        if setting.many:
            listed = value if isinstance(value, list | tuple) else [value]
            good[name] = tuple(_one(setting, item, place) for item in listed)
        elif value is None and setting.optional:
            good[name] = None
        else:
            good[name] = _one(setting, value, place)
    return good


def encoding_values(config: RunConfig) -> dict[str, object]:
    """The values of all settings on which encoded data depends, as JSON holds them.

    >>> values = encoding_values(RunConfig(seed=3, data=("a.csv",)))
    >>> values["data"], "seed" in values, "offline" in values
    (['a.csv'], False, False)
    """
    names = [name for name, setting in settings(type(config)).items() if setting.metadata["affects_encoding"]]
    values = {name: getattr(config, name) for name in sorted(names)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
