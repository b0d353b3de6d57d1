"""What a run is fine-tuned from, and which of its settings that brings with it; without TensorFlow.

Where weights come from, the first that there is: this run's own checkpoint; the run that `--init-from` names; what the
recipe begins with, such as pretrained vectors or a backbone; chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.config import FIXED, RESET, RunConfig, get_config_fields
from common.data.readers.field_roles import get_text_names
from common.discovery import load_recipe_config, recipe_id
from common.errors import ConfigError, DataError, RunError
from common.runtime.atomic_io import load_npz, read_json
from common.runtime.run_dir import Run, find_saved_model, format_value
from common.text.languages import dominant_script
from common.types import Assets, Example, Field, Splits

if TYPE_CHECKING:
    from common.recipe import Recipe

MAX_EXAMPLES = 200  # examples whose script is looked at


@dataclass(frozen=True)
class BaseRun:
    """What a run is fine-tuned from.

    Args:
      path: as the user gave it.
      weights: by path.
      run: it, or what an export has of it; None for a file of weights alone.
      config, assets: of that run.
    """

    path: Path
    weights: Mapping[str, np.ndarray]
    run: Run | None = None
    config: RunConfig | None = None
    assets: Assets | None = None


def load_base_run(spec: str, recipe: str) -> BaseRun:
    """Load what `--init-from` names: a run, an export that has its weights, or an .npz file of weights.

    Raises:
      RunError: it is none of these, damaged, or of another recipe.
    """
    path = Path(spec).expanduser()
    if path.is_file():
        if path.suffix != ".npz":
            raise RunError(
                f"--init-from is {spec}, which is no .npz file of weights. Give a run, or the best_weights.npz in it."
            )
        if not (path.parent / "config.json").exists():
            return BaseRun(path, load_npz(path))
        if path.name != "best_weights.npz":
            raise RunError(f"--init-from is {spec}, which are not the weights of that run. Give the run itself.")
        path = path.parent
    folder = find_saved_model(path)
    run = Run.open(folder / "assets.extra" if folder else path)
    identity = recipe_id(recipe)
    if run.metadata["recipe"] != identity:
        raise RunError(
            f"--init-from is {spec}, a run of {run.metadata['recipe']}, and this is one of {identity}. Give a run of"
            f" {identity}."
        )
    config = run.config(load_recipe_config(recipe).Config)
    return BaseRun(path, _load_exported_weights(folder) if folder else run.load_best(), run, config, run.assets())


def load_base_data(base_run: BaseRun, recipe_class: type[Recipe]) -> Splits:
    """Return the data that a base run was trained on.

    Raises:
      DataError, ConfigError: it cannot be read, or is another by now.
    """
    assert base_run.config is not None and base_run.run is not None
    splits: Splits = recipe_class.load_data(base_run.config)
    # That of a base run that trained on another's data, too, has a fingerprint of both.
    if not base_run.config.replay_ratio and splits.fingerprint != base_run.run.metadata.get("data", {}).get(
        "fingerprint"
    ):
        raise DataError(f"the data of {base_run.path} has changed since it was trained on. Give it the same files.")
    return splits


def script_mismatch_warnings(base_run: BaseRun, train: Iterable[Example], fields: Sequence[Field]) -> list[str]:
    """Return what speaks against training on with such examples, for people: a text in another script."""
    if base_run.run is None or not (base_run.run.path / "parity_examples.json").exists():
        return []
    old_examples, warnings = read_json(base_run.run.path / "parity_examples.json")["examples"], []
    new_examples = list(islice(train, MAX_EXAMPLES))
    for name in get_text_names(fields):
        old, new = (dominant_script(_iter_texts(examples, name)) for examples in (old_examples, new_examples))
        if old and new and old != new:
            warnings.append(
                f"Most of {name} is written in {new.capitalize()}, and that of {base_run.path} in"
                f" {old.capitalize()}: little of what it knows will be of use."
            )
    return warnings


def _iter_texts(examples: Iterable[Example], name: str) -> Iterator[str]:
    """Yield the texts of a field, a list of strings as one; none for what is no text."""
    for example in examples:
        value = example.get(name)
        if isinstance(value, str):
            yield value
        elif isinstance(value, list) and all(isinstance(token, str) for token in value):
            yield " ".join(value)


def _load_exported_weights(folder: Path) -> dict[str, np.ndarray]:
    """Return the weights of an export, by path.

    Raises:
      RunError: it is damaged, or of a version that did not note their paths.
    """
    paths = read_json(folder / "assets.extra" / "card.json").get("weights")
    if not isinstance(paths, list):
        raise RunError(f"{folder} does not tell what its weights are. Give the run, or export that again.")
    from common.runtime.tensorflow_setup import import_tensorflow

    tf = import_tensorflow()
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        named = {path: f"variables_of_model/{place}/.ATTRIBUTES/VARIABLE_VALUE" for place, path in enumerate(paths)}
        return {path: np.asarray(reader.get_tensor(key)) for path, key in named.items() if path}
    except Exception as error:  # TensorFlow raises many kinds for a damaged file
        raise RunError(
            f"{folder} is damaged ({str(error).splitlines()[0]}). Give the run, or export it again."
        ) from None


def fine_tune_defaults(recipe: str) -> dict[str, object]:
    """Return a recipe's defaults where a run is fine-tuned, which take the place of its others."""
    return dict(getattr(load_recipe_config(recipe), "TUNED", {}))


def resolve_fine_tune_settings(
    recipe: str, explicit: Mapping[str, object], base_run: BaseRun
) -> tuple[dict[str, object], dict[str, str]]:
    """Return the settings of a run that is fine-tuned: those given, the base run's, and defaults for fine-tuning.

    Returns:
      The values, and where each came from that was not given, for people.

    Raises:
      ConfigError: one that weights depend on is given, and differs.
    """
    values = fine_tune_defaults(recipe)
    sources = dict.fromkeys(values, "default of fine-tuning")
    if base_run.config is not None:
        for name, setting in get_config_fields(type(base_run.config)).items():
            kind, value = setting.metadata["on_fine_tune"], getattr(base_run.config, name)
            if kind == RESET:
                continue
            if kind == FIXED and name in explicit and explicit[name] != value:
                raise ConfigError(
                    f"{setting.flag} is {format_value(explicit[name])}, but {base_run.path} has {format_value(value)},"
                    " and"
                    f" its weights depend on it. Leave {setting.flag} out, or train without --init-from."
                )
            values[name], sources[name] = value, str(base_run.path)
    return values | dict(explicit), sources
