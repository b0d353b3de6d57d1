"""Which strategy is taken, what replicas draw, what a process tells; several processes are in test_workers.py."""

import json
from itertools import chain

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from common.errors import ConfigError
from common.training import distributed
from common.training.distributed import (
    WorkerGroup,
    create_strategy,
    deserialize_arrays,
    offset_replica_seeds,
    serialize_arrays,
)
from common.training.tf_config import WorkerSpec, read_tf_config
from tests.helpers.cli_calls import fails


def names_cluster(monkeypatch, task, index, **jobs):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": {"type": task, "index": index}}))


def test_cluster_is_none_without_several_workers(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert read_tf_config() is None
    names_cluster(monkeypatch, "worker", 0, worker=["a:1"])
    assert read_tf_config() is None


def test_cluster_counts_the_chief_first(monkeypatch):
    names_cluster(monkeypatch, "worker", 1, chief=["a:1"], worker=["b:1", "c:1"])
    assert read_tf_config() == WorkerSpec(("a:1", "b:1", "c:1"), 2)
    names_cluster(monkeypatch, "chief", 0, chief=["a:1"], worker=["b:1", "c:1"])
    assert read_tf_config() == WorkerSpec(("a:1", "b:1", "c:1"), 0)


@pytest.mark.parametrize(
    ("task", "index", "jobs", "said"),
    [
        ("worker", 0, {"worker": ["a:1"], "ps": ["b:1"]}, "parameter servers are not supported"),
        ("evaluator", 0, {"worker": ["a:1", "b:1"]}, "start these alone"),
        ("worker", 2, {"worker": ["a:1", "b:1"]}, r"worker 2, whom its cluster does not have \(a:1, b:1\)"),
        ("worker", 0, {"chief": ["a:1"]}, "Give each process an index"),
    ],
)
def test_cluster_refuses_what_is_no_worker(monkeypatch, task, index, jobs, said):
    names_cluster(monkeypatch, task, index, **jobs)
    with pytest.raises(ConfigError, match=said):
        read_tf_config()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"cluster": {}}', '{"cluster": 3, "task": {"type": "worker", "index": 0}}']
)
def test_cluster_that_cannot_be_read_is_an_error(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match="TF_CONFIG in the environment cannot be used"):
        read_tf_config()


@pytest.mark.parametrize(
    ("wanted", "devices", "said"),
    [
        ("multi-worker", None, "launch --workers 2 run"),
        ("mirrored", None, "mirrored needs several devices, and there is one, CPU:0"),
        ("auto", "0", "there is no GPU 0; TensorFlow sees none"),
        ("auto", "0,0", "give numbers of GPUs"),
        ("auto", "gpu", "give numbers of GPUs"),
        ("auto", "cpu:0", "another number up to 64"),
        ("auto", "cpu:9", "TensorFlow has begun with other devices"),
    ],
)
def test_strategy_without_its_devices_is_an_error(monkeypatch, wanted, devices, said):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    tf.config.list_logical_devices()  # TensorFlow begins with those that there are
    with pytest.raises(ConfigError, match=said):
        create_strategy(wanted, devices)


@pytest.mark.parametrize("wanted", ["one-device", "mirrored"])
def test_strategy_of_one_process_is_refused_in_a_cluster(monkeypatch, wanted):
    names_cluster(monkeypatch, "worker", 0, worker=["a:1", "b:1"])
    with pytest.raises(ConfigError, match=f"--strategy {wanted} trains in one process"):
        create_strategy(wanted)


def test_virtual_devices_are_not_for_workers(monkeypatch):
    names_cluster(monkeypatch, "worker", 0, worker=["a:1", "b:1"])
    with pytest.raises(ConfigError, match="Start more workers instead"):
        create_strategy("auto", "cpu:2")


def test_strategy_of_one_device_says_why(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert create_strategy()[1] == "the only device is CPU:0"
    assert create_strategy("one-device") == (tf.distribute.get_strategy(), "as asked for")
    assert distributed.describe_strategy(tf.distribute.get_strategy()) == "one device"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("tpu", "--strategy mirrored or multi-worker"),
        ("parameter-server", "--strategy multi-worker"),
        ("PS", "--strategy multi-worker"),
        ("central_storage", "--strategy mirrored"),
    ],
)
def test_strategies_that_are_not_supported_are_refused_with_what_to_use(name, instead, tmp_path):
    assert instead in fails("run", "sentiment", "--strategy", name, status=2)


def test_strategy_in_a_file_is_refused_alike(tmp_path):
    (tmp_path / "run.toml").write_text('strategy = "tpu"\n')
    assert "TPUs are not supported" in fails("run", "sentiment", "--config", tmp_path / "run.toml", status=2)


def test_cluster_that_is_no_cluster_is_a_usage_error(monkeypatch, reviews):
    monkeypatch.setenv("TF_CONFIG", "{")
    assert "It must be JSON such as" in fails("run", "sentiment", "--data", reviews, status=2)


# Replicas


def drawn(replicas, times=2):
    """What each replica's dropout keeps, draw by draw."""
    keras.utils.set_random_seed(1)
    with replicas.scope():
        generator = keras.random.SeedGenerator()
        layer = keras.layers.Dropout(0.5)
        layer.build([8])
    offset_replica_seeds(replicas, [generator.state, layer.seed_generator.state])

    @tf.function
    def draw():
        def on_replica():
            mask = layer(tf.ones([64]), training=True)
            return tf.concat([mask, tf.random.stateless_uniform([8], generator.next())], axis=0)

        return replicas.run(on_replica)

    found = [[one.numpy() for one in replicas.experimental_local_results(draw())] for _ in range(times)]
    return np.array(found)  # [draws, replicas, numbers]


def test_replicas_draw_numbers_of_their_own(three_replicas):
    found = drawn(three_replicas).reshape(6, -1)
    assert len(np.unique(found, axis=0)) == 6
    kept = found[:, :64] > 0
    agree = (kept[:, None] == kept).mean(axis=2)[np.triu_indices(6, 1)]
    assert np.abs(agree - 0.5).max() < 0.25  # 64 fair coins: four standard deviations


def test_replicas_draw_the_same_again(three_replicas):
    np.testing.assert_array_equal(drawn(three_replicas), drawn(three_replicas))


def test_first_replica_draws_what_one_device_does(three_replicas):
    np.testing.assert_array_equal(drawn(three_replicas)[:, 0], drawn(tf.distribute.get_strategy())[:, 0])


def test_items_are_spread_over_replicas_in_order(three_replicas):
    workers = WorkerGroup(three_replicas)
    asked = []

    def squares(items):
        asked.append(items)
        found = tf.function(lambda *values: workers.run_on_replicas(lambda value: value * value, values))(
            *map(tf.constant, items)
        )
        return [[one.numpy()] for one in found]

    assert [(item, int(found)) for item, (found,) in workers.map_over_replicas(range(7), squares)] == [
        (n, n * n) for n in range(7)
    ]
    assert asked == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]


# Processes


def test_a_process_alone_is_told_what_it_tells():
    workers = WorkerGroup(tf.distribute.get_strategy())
    assert workers.is_chief and (workers.index, workers.count, workers.local) == (0, 1, 1)
    assert workers.broadcast_floats(1.5, 2) == (1.5, 2)
    assert workers.all_gather_bytes(b"own") == [b"own"]
    assert workers.broadcast_json(["a", None]) == ["a", None]
    assert workers.any_worker(True) and not workers.any_worker(False)
    workers.assert_identical({"seed": "1"})


TEXTS = st.lists(st.binary(max_size=9), max_size=4).map(lambda texts: np.array(texts, object))
NUMBERS = st.sampled_from([np.float32, np.int64, np.int32, np.bool_]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


@settings(deadline=None)
@given(st.lists(st.lists(st.one_of(NUMBERS, TEXTS), max_size=3), max_size=3))
def test_arrays_are_unpacked_as_they_were_packed(groups):
    found = list(deserialize_arrays(serialize_arrays(groups)))
    assert [len(group) for group in found] == [len(group) for group in groups]
    for one, other in zip(chain(*groups), chain(*found), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.shape == other.shape and one.dtype == other.dtype
