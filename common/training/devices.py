"""The devices of this process, chosen before TensorFlow begins to use them."""

from __future__ import annotations

import tensorflow as tf

from common.errors import ConfigError


def select_devices(devices: str | None, wanted: str, in_cluster: bool) -> list[str]:
    """Return the devices that take part in this process, such as GPU:0; hide others, make virtual ones.

    Args: see `common.training.distributed.create_strategy`; and
      in_cluster: other processes take part.

    Raises:
      ConfigError: there are no such devices.
    """
    kind, _, number = (devices or "").partition(":")
    if kind == "cpu":
        if not number.isdecimal() or not 0 < int(number) <= 64:
            raise ConfigError(f"--devices {devices}: name virtual CPU devices by cpu:2 or another number up to 64.")
        if in_cluster:
            raise ConfigError(f"--devices {devices}: each worker has one CPU device. Start more workers instead.")
        _split_cpu(int(number))
        tf.config.set_visible_devices([], "GPU")  # else operations and LSTM kernels are placed there
        return [f"CPU:{index}" for index in range(int(number))]
    gpus = tf.config.list_physical_devices("GPU")
    if devices is not None:
        numbers = [word.strip() for word in devices.split(",")]
        if not all(word.isdecimal() for word in numbers) or len(set(numbers)) < len(numbers):
            raise ConfigError(f"--devices {devices}: give numbers of GPUs such as 0,1, or cpu:2 for virtual devices.")
        if missing := [word for word in numbers if int(word) >= len(gpus)]:
            raise ConfigError(
                f"--devices {devices}: there is no GPU {missing[0]}; TensorFlow sees {len(gpus) or 'none'}."
                " See python cli.py doctor."
            )
        gpus = [gpus[int(word)] for word in numbers]
        tf.config.set_visible_devices(gpus, "GPU")
    elif wanted == "one-device" and gpus:
        gpus = gpus[:1]
        tf.config.set_visible_devices(gpus, "GPU")
    return [f"GPU:{index}" for index in range(len(gpus))] or ["CPU:0"]


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except (RuntimeError, ValueError):  # this process has begun to use its devices
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise ConfigError(f"--devices cpu:{count}: TensorFlow has begun with other devices.") from None
