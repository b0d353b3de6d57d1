"""A run's settings in files: read from TOML, and written as TOML and JSON."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from common.config import ConfigType, RunConfig, get_config_fields, validate_config_values
from common.errors import ConfigError


def load_toml(config_class: ConfigType, path: Path) -> dict[str, object]:
    """Read the checked values of a TOML file.

    Raises:
      ConfigError: the file is missing, not TOML, or holds an unknown or wrong value.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Give --config an existing TOML file.") from None
    except ValueError as error:  # both bad TOML and bad UTF-8
        raise ConfigError(f"{path}: is not TOML ({error}).") from None
    return validate_config_values(config_class, values, str(path))


def config_to_dict(config: RunConfig) -> dict[str, object]:
    """Return the values as JSON holds them."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()
    }


def config_to_toml(config: RunConfig, origins: Mapping[str, str]) -> str:
    """Return the values as a TOML file that says where each came from; it can be given to --config again.

    >>> from common.config import RunConfig
    >>> config_to_toml(RunConfig(seed=3), {"seed": "flag"}).splitlines()[-10]
    'seed = 3  # flag'
    """
    lines = []
    for name, value in config_to_dict(config).items():
        origin = origins.get(name, "default")
        if value is None:
            shown = get_config_fields(type(config))[name].metadata["shown"] or "not set"
            lines.append(f"# {name} =  # {origin}: {shown}")
        else:
            shown = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # which TOML wants escaped
            lines.append(f"{name} = {shown}  # {origin}")
    return "\n".join(lines)
