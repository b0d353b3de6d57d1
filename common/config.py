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
from operator import ge, gt, le, lt
from typing import Any

from common.errors import ConfigError, did_you_mean

OWN_SHARE = "own_share"  # key of assets: the share of the training part that is not a source's (`--replay-ratio`)
TUNING = "Fine-tuning"  # the group of settings that need a source
LIMITS: Sequence[tuple[str, str, Callable[[Any, Any], bool]]] = (
    ("low", "at least", ge),
    ("high", "at most", le),
    ("above", "above", gt),
    ("below", "below", lt),
)
GROUPS = ("Model", "Data", "Training", TUNING)  # of settings, in the order in which people see them
FIXED, INHERITED, RESET = "fixed", "inherited", "reset"  # what a fine-tuned run does with a value of its base run


def config_field(
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
    on_fine_tune: str | None = None,
    affects_encoding: bool | None = None,
) -> Any:
    """Make a dataclass field that is also a command-line option.

    Args:
      low, high: the range, bounds included.
      above, below: the range, bounds excluded.
      refused: what users of other programs may look for among the choices, and why it is not there and what is.
      shown: what help shows as the default, where the value itself does not tell.
      group: the heading under which help lists it.
      on_fine_tune: where a run is fine-tuned from another, whether the other's value is "fixed", for weights depend on
        it; "inherited" unless one is given; or "reset" to the default. Of the group Model it is fixed, else reset.
      affects_encoding: whether loading, learning from or encoding the data may depend on it, so that encoded data of
        another value is not used again; None: all settings do but those of training and of fine-tuning.
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
        "on_fine_tune": on_fine_tune or (FIXED if group == "Model" else RESET),
        "affects_encoding": group not in ("Training", TUNING) if affects_encoding is None else affects_encoding,
    }
    return dataclasses.field(default=default, metadata=metadata)


# Options of the network or of its training alone, on which encoded data does not depend.
network_field = partial(config_field, affects_encoding=False)
_data = partial(config_field, group="Data")
_training = partial(config_field, group="Training")
_tuning = partial(config_field, group=TUNING)


NO_PARAMETER_SERVERS = (
    "parameter servers are not supported: their workers step out of turn, and no run could be repeated. Use --strategy"
    " multi-worker, where all step together."
)
STRATEGIES_REFUSED = {
    "parameter-server": NO_PARAMETER_SERVERS,
    "ps": NO_PARAMETER_SERVERS,
    "central-storage": "central storage is experimental in TensorFlow, and slower than a copy of the variables on each"
    " device. Use --strategy mirrored.",
    "tpu": "TPUs are not supported, for they need other input and padding. Use GPUs, with --strategy mirrored or"
    " multi-worker.",
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
    cache_encoded: bool = _data(
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
    gradient_accumulation_steps: int = _training(
        1, "Compute the gradient of a batch in so many parts, one after the other, to save memory.", low=1
    )
    learning_rate: float = _training(1e-3, "Highest learning rate of the schedule.", above=0, below=10)
    lr_batch_scaling: str = _training(
        "none",
        "Multiply the learning rate by --batch-size over its default, or by the square root of that.",
        choices=("none", "linear", "sqrt"),
    )
    lr_schedule: str = _training(
        "cosine", "Learning rate after the warm-up.", choices=("cosine", "linear", "inverse-sqrt", "constant")
    )
    warmup_ratio: float = _training(
        0.1, "Share of the training over which the learning rate rises from 0.", low=0, below=1
    )
    weight_decay: float = _training(0.0, "Decoupled weight decay of matrices, per unit of learning rate.", low=0)
    global_clipnorm: float = _training(1.0, "Largest norm of all gradients together; 0 for no limit.", low=0)
    ema_momentum: float = _training(
        0.0, "Decay of the moving average of weights that is evaluated and kept; 0 for none.", low=0, below=1
    )
    label_smoothing: float = _training(0.0, "Share of the target spread evenly over all labels.", low=0, below=1)
    class_weights: str = _training(
        "none", "Weigh labels equally (balanced) or by their number (none).", choices=("none", "balanced")
    )
    precision: str = _training(
        "float32",
        "Arithmetic of layers; variables stay float32.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    patience: int = _training(5, "Stop when validation has not improved for so many epochs; 0 for never.", low=0)
    stochastic_regularization: bool = _training(True, "Dropout, augmentation and all other random regularisers.")
    strategy: str = _training(
        "auto",
        "Where to train: one device, several of this machine (mirrored), or the workers of TF_CONFIG (multi-worker).",
        choices=("auto", "one-device", "mirrored", "multi-worker"),
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
    freeze_through: str | None = _tuning(
        None,
        "The group of layers, such as encoder, that stays as it is with all before it.",
        metavar="GROUP",
        shown="none",
    )
    gradual_unfreeze_ratio: float = _tuning(
        0.0, "Share of the training over which parts begin to learn one by one, the last one first.", low=0, below=1
    )
    layerwise_lr_decay: float = _tuning(1.0, "Learning rate of a part by that of the part after it.", above=0, high=1)
    new_layers_first_ratio: float = _tuning(
        0.0, "Share of the training in which layers with kept weights stay as they are.", low=0, below=1
    )
    l2_sp: float = _tuning(
        0.0,
        "Pull weights from the source to where they began, per unit of learning rate; in place of --weight-decay.",
        low=0,
    )
    replay_ratio: float = _tuning(
        0.0, "Share of the source's own training data that is trained on, too.", low=0, high=1, affects_encoding=True
    )
    compare_from_scratch: bool = _tuning(False, "Train from scratch on the same data, too, and compare.")
    cv_folds: int | None = _tuning(
        None,
        "Also train on all but one of so many parts of the data by turns, and score on the one left out.",
        low=2,
        high=100,
        shown="none",
    )


def resolve_epochs(
    config: RunConfig, assets: Mapping[str, Any], examples: float, seen: int, low: int, high: int, fill: bool = True
) -> int | None:
    """Return how many epochs a run is to have: those asked for, or as many as make `seen` examples, within bounds.

    >>> resolve_epochs(RunConfig(), {}, 5_000, seen=100_000, low=10, high=60)
    20
    >>> resolve_epochs(RunConfig(max_minutes=10), {}, 5_000, seen=100_000, low=10, high=60) is None
    True

    Args:
      assets: of the run; with `--replay-ratio` only the share that is not the source's is to be learned.
      examples: of the training part.
      fill: use up --max-minutes where it is alone, for longer is better; never in fine-tuning, of little data.

    Returns:
      None for as many as the time allows.
    """
    if config.epochs is not None:
        return config.epochs
    if config.max_minutes is not None and fill and config.init_from is None:
        return None
    return min(max(round(seen / max(examples * assets.get(OWN_SHARE, 1), 1)), low), high)


def reject_settings(config: RunConfig, names: Sequence[str], why: str) -> None:
    """Check that settings that mean nothing to a recipe are left out.

    Raises:
      ConfigError: one of them is not its default.

    >>> reject_settings(RunConfig(class_weights="balanced"), ["class_weights"], "it is of labels")
    Traceback (most recent call last):
    common.errors.ConfigError: --class-weights is given, but it is of labels: leave it out.
    """
    for name in names:
        if getattr(config, name) != get_config_fields(type(config))[name].default:
            raise ConfigError(f"--{name.replace('_', '-')} is given, but {why}: leave it out.")


ConfigType = type[RunConfig]


@dataclasses.dataclass(frozen=True)
class ConfigFieldSpec:
    """A config field as the command line and files see it."""

    name: str
    type: type  # of one value: int, float, bool or str
    is_list: bool
    optional: bool
    default: Any
    metadata: Mapping[str, Any]

    @property
    def flag(self) -> str:
        return "--" + self.name.rstrip("_").replace("_", "-")  # continue_, since continue is Python's


def get_config_fields(config_class: ConfigType) -> dict[str, ConfigFieldSpec]:
    """Return the fields of a config class by name, their types worked out."""
    hints = typing.get_type_hints(config_class)
    specs = {}
    for item in dataclasses.fields(config_class):
        hint, many = hints[item.name], False
        if typing.get_origin(hint) is tuple:
            hint, many = typing.get_args(hint)[0], True
        elif isinstance(hint, types.UnionType):
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        optional = item.default is None  # of those typed int, too, which a recipe fills in by the data
        specs[item.name] = ConfigFieldSpec(item.name, hint, many, optional, item.default, item.metadata)
    return specs


def _validate_value(setting: ConfigFieldSpec, value: Any, location: str) -> Any:
    kind, limits = setting.type, setting.metadata
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
        raise ConfigError(f"{location}: {setting.name} is {value!r}, but must be {names[kind]}.")
    if value in limits["refused"]:
        raise ConfigError(f"{location}: {setting.name} cannot be {value}: {limits['refused'][value]}")
    if limits["choices"] and value not in limits["choices"]:
        raise ConfigError(
            f"{location}: {setting.name} is {value!r}, but must be one of {', '.join(limits['choices'])}."
        )
    for key, words, holds in LIMITS:
        if limits[key] is not None and not holds(value, limits[key]):
            raise ConfigError(f"{location}: {setting.name} is {value}, but must be {words} {limits[key]}.")
    return value


def validate_config_values(config_class: ConfigType, values: Mapping[str, Any], location: str) -> dict[str, Any]:
    """Return the values with their types and ranges checked.

    Raises:
      ConfigError: an unknown name or a value of a wrong type or out of range.
    """
    known = get_config_fields(config_class)
    checked: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            raise ConfigError(f'{location}: there is no setting "{key}".{did_you_mean(name, known)}')
        setting = known[name]
        if setting.is_list:
            listed = value if isinstance(value, list | tuple) else [value]
            checked[name] = tuple(_validate_value(setting, item, location) for item in listed)
        elif value is None and setting.optional:
            checked[name] = None
        else:
            checked[name] = _validate_value(setting, value, location)
    return checked


def encoding_values(config: RunConfig) -> dict[str, object]:
    """Return the values of all settings on which encoded data depends, as JSON holds them.

    >>> values = encoding_values(RunConfig(seed=3, data=("a.csv",)))
    >>> values["data"], "seed" in values, "offline" in values
    (['a.csv'], False, False)
    """
    names = [name for name, setting in get_config_fields(type(config)).items() if setting.metadata["affects_encoding"]]
    values = {name: getattr(config, name) for name in sorted(names)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
