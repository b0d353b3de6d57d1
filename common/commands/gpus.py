"""The GPUs that the driver shows, those that TensorFlow sees, and what stands between the two."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from itertools import takewhile
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

WAIT_SECONDS = 30  # a driver that nobody uses loads first, which takes seconds for each GPU
EXTRA = "and-cuda"  # TensorFlow's name for the packages of CUDA libraries


def diagnose_gpus(tensorflow: ModuleType) -> tuple[str, list[str]]:
    """Return (the GPUs in a few words, faults as sentences)."""
    shown = list_driver_gpus()
    seen = [_get_name(tensorflow, device) for device in tensorflow.config.list_physical_devices("GPU")]
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    words = ", ".join(seen) or "none"
    if len(seen) < len(shown):
        words += f"; the driver shows {', '.join(shown)}"
        if variable is not None:
            words += f'; CUDA_VISIBLE_DEVICES is "{variable}"'
    return words, explain_missing_gpus(
        shown, len(seen), variable, tensorflow.sysconfig.get_build_info(), list_missing_cuda_packages()
    )


def list_driver_gpus() -> list[str]:
    """Return names of the GPUs that NVIDIA's driver shows; none where it is not installed or does not work."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=WAIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU \d+: (.*?)(?: \(UUID: .*)?$", listed.stdout, re.MULTILINE) if not listed.returncode else []


def _get_name(tensorflow: ModuleType, device: tf.config.PhysicalDevice) -> str:
    return tensorflow.config.experimental.get_device_details(device).get("device_name", device.name)


def count_visible_gpus(count: int, variable: str | None) -> int:
    """Return how many of so many GPUs CUDA_VISIBLE_DEVICES leaves visible: those before the first that is no GPU.

    >>> [count_visible_gpus(2, visible) for visible in (None, "", "1", "0,-1,1")]
    [2, 0, 1, 1]
    >>> count_visible_gpus(2, "GPU-8932f937-d72c")
    1
    """
    if variable is None:
        return count
    names = (name.strip() for name in variable.split(","))
    known = takewhile(lambda name: name.startswith(("GPU-", "MIG-")) or (name.isdigit() and int(name) < count), names)
    return min(count, len(list(known)))


def list_missing_cuda_packages() -> list[str]:
    """Return what `tensorflow[and-cuda]` needs and this environment lacks, or has in a version that will not do."""
    from packaging.requirements import Requirement  # TensorFlow depends on it

    try:
        lines = importlib.metadata.requires("tensorflow") or []
    except importlib.metadata.PackageNotFoundError:  # another build of it, such as tensorflow-cpu
        return []
    missing = []
    for required in map(Requirement, lines):
        marker = required.marker
        if marker and marker.evaluate({"extra": EXTRA}) and not marker.evaluate({"extra": ""}):
            try:
                version = importlib.metadata.version(required.name)
            except importlib.metadata.PackageNotFoundError:
                missing.append(required.name)
            else:
                if not required.specifier.contains(version, prereleases=True):
                    missing.append(f"{required.name}{required.specifier} instead of {version}")
    return missing


def explain_missing_gpus(
    shown: Sequence[str], seen: int, variable: str | None, build: Mapping[str, object], missing: Sequence[str]
) -> list[str]:
    """Explain why TensorFlow sees fewer GPUs than it could, and what to do; no sentence if it sees all.

    Some GPUs hidden by CUDA_VISIBLE_DEVICES are a choice, all of them are a fault.

    Args:
      shown: names of the GPUs that the driver shows.
      seen: number of those that TensorFlow sees.
      variable: the value of CUDA_VISIBLE_DEVICES, if it is set.
      build: what TensorFlow says of how it was built.
      missing: packages of CUDA libraries that are not installed.
    """
    visible = count_visible_gpus(len(shown), variable)
    if not shown or (visible and seen >= visible):
        return []
    sentences = []
    if not visible:
        sentences.append(f'CUDA_VISIBLE_DEVICES is "{variable}", which hides every GPU: unset it.')
    if not build.get("is_cuda_build"):
        sentences.append(
            "TensorFlow is built without CUDA here and can use no GPU of NVIDIA's: that of Linux on x86_64 is built "
            "with it, so install there by make setup GPU=1."
        )
    elif missing:
        sentences.append(f"TensorFlow lacks packages of CUDA libraries ({', '.join(missing)}): run make setup GPU=1.")
    return sentences or [
        f"The driver shows {len(shown)} and TensorFlow sees {seen} GPUs though its CUDA libraries are installed: the "
        f"driver may be too old for CUDA {build['cuda_version']}. What TensorFlow says of it is shown by "
        "TF_CPP_MIN_LOG_LEVEL=0 python cli.py doctor."
    ]
