"""What this machine and installation can do, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys

from common import PROJECT_ROOT, __version__
from common.commands.gpus import diagnose_gpus
from common.errors import ConfigError
from common.runtime.user_cache import cache_dir
from common.training.tf_config import read_tf_config

REQUIREMENTS = PROJECT_ROOT / "requirements.in"
PYTHONS = ((3, 11), (3, 13))  # first and last for which TensorFlow 2.21 has wheels


def _list_requirements() -> list[str]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines() if REQUIREMENTS.exists() else []
    return [re.split(r"[<>=!~ \[]", line)[0] for line in lines if line and not line.startswith("#")]


def _format_cluster() -> str:
    """What TF_CONFIG names."""
    processes = read_tf_config()
    if processes is None:
        return "none"
    return f"worker {processes.index} of {len(processes.workers)} ({', '.join(processes.workers)})"


def diagnose_environment() -> tuple[dict[str, str], list[str]]:
    """Return (facts by name, faults as sentences)."""
    facts = {"kerasserole": __version__, "python": f"{platform.python_version()} ({sys.executable})"}
    faults = []
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        faults.append(f"Python {platform.python_version()} has no TensorFlow 2.21; use 3.11, 3.12 or 3.13.")
    for name in _list_requirements():
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
            faults.append(f"{name} is not installed: run make setup.")
    facts["processors"] = f"{os.cpu_count()}, {platform.machine()}"
    try:
        from common.runtime.tensorflow_setup import import_tensorflow

        tf = import_tensorflow()
        from common.training.distributed import lstm_kernel_name
    except ImportError as error:
        faults.append(f"TensorFlow cannot be imported ({error}): run make setup.")
    else:
        facts["devices"] = ", ".join(device.name for device in tf.config.list_physical_devices())
        facts["GPUs"], gpu_faults = diagnose_gpus(tf)
        faults += gpu_faults
        facts["LSTM kernel"] = lstm_kernel_name()
        try:
            facts["cluster"] = _format_cluster()
        except ConfigError as error:
            faults.append(str(error))
    cache = cache_dir()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    facts["cache"] = f"{cache}, {shutil.disk_usage(existing).free / 1e9:.0f} GB free"
    if not os.access(existing, os.W_OK):
        faults.append(f"{existing} cannot be written to: set XDG_CACHE_HOME to a folder that can.")
    return facts, faults
