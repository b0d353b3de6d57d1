"""The run directory: what a training was told, what it learned, where it stands, and how well it did.

    config.json              recipe, settings, versions, data
    assets.json              what was learned from the training data: vocabularies, labels
    parity_examples.json     a few held-out examples, to prove an export with
    checkpoint.npz           all that training depends on, to go on from
    best_weights.npz         the weights that did best on the validation part, by variable path
    history.jsonl            the facts of each epoch
    metrics.json             the final measures; written last, so a run that has it is finished
    report.html              the same for people
    tensorboard/             the curves for TensorBoard
    transfer.json            of a fine-tuned run: what became of the base run's weights
    base_run_metrics.npz     of a fine-tuned run: what the base run got right
    per_example_metrics.npz  of a fine-tuned run: what all models that were compared got right
    from_scratch/, fold-1/   runs within this one
    recipe_code/             the recipe, if it is not one of ours

Nothing here is ever unpickled or run: the model is rebuilt by the recipe's code and given its weights as arrays.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from common.config import RunConfig, validate_config_values
from common.config_io import config_to_dict
from common.discovery import RECIPES_DIR, recipe_dir, recipe_id
from common.errors import ConfigError, RunError
from common.runtime.atomic_io import atomic_write, load_npz, read_json, save_npz, write_json

if TYPE_CHECKING:
    from common.types import Assets, Example, JsonObject

FORMAT = 2  # of the files and their keys
GROWING = ("epochs", "max_minutes")  # a resumed run may be given more of these
LAYOUT = ("strategy", "devices")  # of this start; a run may go on elsewhere, only with other noise for each replica
FREE = ("checkpoint_minutes", "cache_encoded", "offline", "strict", *LAYOUT)  # these change nothing that is trained


@dataclass
class Run:
    """A run directory.

    Args:
      path: the folder.
      metadata: the contents of config.json.
    """

    path: Path
    metadata: JsonObject

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open an existing run.

        Raises:
          RunError: there is none, or it is damaged or of another format.
        """
        if not path.is_dir():
            raise RunError(f"{path} is no run: there is no such folder. Name one that `cli.py run` printed.")
        if not (path / "config.json").exists():
            raise RunError(f"{path} is no run: it has no config.json. Name a folder that `cli.py run` printed.")
        about = read_json(path / "config.json")
        number = about.get("format")
        if isinstance(number, int) and number != FORMAT:
            raise RunError(
                f"{path / 'config.json'} is of format {number}, but this version reads format {FORMAT} only:"
                " use the version of Kerasserole that made it, or train anew."
            )
        kinds = {"format": int, "recipe": str, "is_custom_recipe": bool, "settings": dict}
        if missing := [key for key, kind in kinds.items() if not isinstance(about.get(key), kind)]:
            raise RunError(f"{path / 'config.json'} is damaged: {missing[0]} is missing. Restore it.")
        return cls(path, about)

    @classmethod
    def create(
        cls,
        path: Path,
        recipe: str,
        config: RunConfig,
        assets: Assets,
        samples: list[Example],
        facts: JsonObject,
    ) -> Run:
        """Make a new run with its settings and assets in one piece; the folder may exist if it is empty.

        Args:
          samples: held-out examples, with which an export is proved later.
          facts: further ones for config.json, such as versions and data.
        """
        folder = recipe_dir(recipe)
        is_custom = folder.parent != RECIPES_DIR
        identity = {"recipe": recipe_id(recipe), "is_custom_recipe": is_custom}
        about = {"format": FORMAT, **identity, "settings": config_to_dict(config), **facts}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            temporary.chmod(0o755)
            if is_custom:
                unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(folder, temporary / "recipe_code", ignore=unwanted)
            write_json(temporary / "assets.json", assets)
            write_json(temporary / "parity_examples.json", {"examples": samples})
            write_json(temporary / "config.json", about)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls(path, about)

    def lock(self) -> IO[str]:
        """Keep a second process from training in this folder, as long as the returned file is open.

        Raises:
          RunError: another process is at it.
        """
        file = open(self.path / ".lock", "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"Another process is training in {self.path}. Wait for it, or name another --run-dir."
            ) from None
        return file

    # Files

    def assets(self) -> Assets:
        """Return what was learned from the training data."""
        return read_json(self.path / "assets.json")

    def metrics(self) -> JsonObject | None:
        """Return the final measures; None of a run that is not finished."""
        path = self.path / "metrics.json"
        return read_json(path) if path.exists() else None

    def write_metrics(self, metrics: JsonObject) -> None:
        """Write metrics.json; do so last."""
        write_json(self.path / "metrics.json", metrics)

    def mark_unfinished(self, config: RunConfig, requested: RunConfig) -> None:
        """Make a finished run an unfinished one, with settings that may have grown.

        Args:
          requested: the settings as they were asked for, which `requested_settings` gives again.
        """
        (self.path / "metrics.json").unlink(missing_ok=True)
        self.metadata |= {"settings": config_to_dict(config), "requested_settings": config_to_dict(requested)}
        write_json(self.path / "config.json", self.metadata)

    def save_checkpoint(self, arrays: Mapping[str, np.ndarray], numbers: JsonObject) -> None:
        """Write one file in one piece: arrays, and the numbers as JSON bytes."""
        packed = np.frombuffer(json.dumps(numbers).encode(), np.uint8)
        save_npz(self.path / "checkpoint.npz", {**arrays, "numbers": packed})

    def load_checkpoint(self) -> tuple[dict[str, np.ndarray], JsonObject] | None:
        """Read the last checkpoint, if there is one.

        Raises:
          RunError: it is damaged.
        """
        path = self.path / "checkpoint.npz"
        if not path.exists():
            return None
        arrays = load_npz(path)
        try:
            return arrays, json.loads(arrays.pop("numbers").tobytes())
        except (KeyError, ValueError):
            raise RunError(f"{path} is damaged. Delete it to train from the start, or restore it.") from None

    def save_best(self, weights: Mapping[str, np.ndarray]) -> None:
        save_npz(self.path / "best_weights.npz", weights)

    def load_best(self) -> dict[str, np.ndarray]:
        """Read the best weights by variable path.

        Raises:
          RunError: there are none yet, or they are damaged.
        """
        try:
            return load_npz(self.path / "best_weights.npz")
        except FileNotFoundError:
            raise RunError(
                f"{self.path} has no trained weights yet. Go on with: python cli.py run {self.metadata['recipe']}"
                f" --resume {self.path}"
            ) from None

    def history(self) -> list[JsonObject]:
        """Read the facts of the epochs so far; a line that a kill cut short ends them."""
        path = self.path / "history.jsonl"
        facts = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                facts.append(json.loads(line))
            except ValueError:
                break
        return facts

    def write_history(self, facts: list[JsonObject]) -> None:
        with atomic_write(self.path / "history.jsonl", "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in facts)

    # Settings and code

    def config(self, config_class: type[RunConfig]) -> RunConfig:
        """Return the settings of this run as its recipe's Config.

        Raises:
          RunError: they do not fit the recipe.
        """
        try:
            return config_class(
                **validate_config_values(config_class, self.metadata["settings"], str(self.path / "config.json"))
            )
        except ConfigError as error:
            raise RunError(
                f"{error} The run was made by another version of its recipe: use that one, or train anew."
            ) from None

    def extended_settings(self, config: RunConfig) -> dict[str, Any]:
        """Return the settings by name of which a config has more than this run had."""
        stored = self.config(type(config))
        pairs = ((name, getattr(stored, name), getattr(config, name)) for name in GROWING)
        return {name: new for name, old, new in pairs if old is not None and new is not None and new > old}

    def requested_settings(self, config: RunConfig) -> RunConfig:
        """Return the settings as they were asked for, before the recipe fitted some to its data.

        Args:
          config: of the run as it goes on, of which it may have been given more than it had.
        """
        requested = self.metadata["requested_settings"]
        stored = validate_config_values(type(config), requested, str(self.path / "config.json"))
        free = {name: getattr(config, name) for name in FREE}
        return type(config)(**{**stored, **free, **self.extended_settings(config)})

    def recipe_path(self, recipe_path: str | None = None, trust_code: bool = False) -> str:
        """Return what to load the recipe by: one of ours by name; another only if the user names it or trusts the copy.

        Raises:
          RunError: the run was made by a recipe of one's own, and neither was said.
        """
        if recipe_path is not None:
            return recipe_path
        if not self.metadata["is_custom_recipe"]:
            return str(self.metadata["recipe"])
        if trust_code:
            return str(self.path / "recipe_code")
        raise RunError(
            f"{self.path} was made by a recipe of its own ({self.metadata['recipe']}), whose code runs only if"
            " you say so:"
            " name the folder by --recipe, or give --trust-code to run the copy in the run's folder."
        )

    def resume_config(self, config_class: type[RunConfig], explicit: Mapping[str, Any]) -> RunConfig:
        """Return the run's settings with those given now.

        Raises:
          ConfigError: a value differs that cannot be changed.
        """
        stored = self.config(config_class)
        changes: dict[str, Any] = {}
        for name, value in explicit.items():
            previous = getattr(stored, name)
            is_larger = name in GROWING and previous is not None and value is not None and value > previous
            if value != previous and not is_larger and name not in FREE:
                alternative = ", or a larger one" if name in GROWING else ""
                raise ConfigError(
                    f"{self.path} was begun with {name} {format_value(previous)}, and now it is {format_value(value)}."
                    f" Resume with the same value{alternative}, or start a new run in another --run-dir."
                )
            changes[name] = value
        layout = {name: getattr(config_class, name) for name in LAYOUT}
        return config_class(**{**vars(stored), **layout, **changes})


def format_value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "not set"
    return "not set" if value is None else str(value)


def find_saved_model(path: Path) -> Path | None:
    """Return the SavedModel folder that `path` names, itself or by its latest version; None if it is no export."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [p for p in path.glob("*") if p.name.isdigit() and (p / "saved_model.pb").is_file()]
    return max(versions, key=lambda p: int(p.name), default=None)


def make_run_path(recipe: str, now: datetime) -> Path:
    """Return a fresh folder under runs/, named by recipe and time."""
    stem = f"runs/{Path(recipe).name}-{now:%Y%m%d-%H%M%S}"
    numbered = (Path(stem if number == 1 else f"{stem}-{number}") for number in range(1, 1000))
    return next(path for path in numbered if not path.exists())
