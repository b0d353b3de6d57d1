"""Encoded data that runs hand on to each other: when it is the same, and what must never be taken for the same."""

import json
import os
import platform

import numpy as np
import pytest

from common import discovery
from common.errors import DataError, RunError
from common.training import encoded_cache, encoded_dataset
from common.training.encoded_dataset import prepare_run
from tests.helpers.cli_calls import SMALL, call, good, tiny_texts, write

VERSIONS = {"tensorflow": "1"}
NAME = "sentiment"
TAKEN = "taken over from an earlier run"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kerasserole" / "encoded"


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "reviews.csv", tiny_texts(80))


def ready(data, versions=VERSIONS, resumed=(), **values):
    return prepare_run(NAME, discovery.load_recipe_config(NAME).Config(data=(str(data),), **values), versions, *resumed)


def taken(capsys):
    return TAKEN in capsys.readouterr().err


def alike(one, other):
    assert one.assets == other.assets
    assert list(one.stores) == list(other.stores)
    for name, store in one.stores.items():
        assert list(store.columns) == list(other.stores[name].columns)
        for key, column in store.columns.items():
            same = other.stores[name].columns[key]
            assert column.values.dtype == same.values.dtype
            assert np.array_equal(column.values, same.values)
            assert (column.row_splits is None) == (same.row_splits is None)
            assert column.row_splits is None or np.array_equal(column.row_splits, same.row_splits)
    return True


@pytest.mark.parametrize("memory_bytes", [1, 2**30])
def test_next_run_takes_over_the_same_assets_and_columns(cache, data, capsys, monkeypatch, memory_bytes):
    monkeypatch.setattr("common.data.example_store.MEMORY_BYTES", memory_bytes)
    first = ready(data)
    assert not taken(capsys)
    second = ready(data)
    assert taken(capsys)
    mapped = [isinstance(c.values.base, np.memmap) for c in second.stores["train"].columns.values()]
    assert any(mapped) == (memory_bytes == 1)
    assert alike(first, second)
    first.close()
    second.close()
    assert alike(ready(data, cache_encoded=False), ready(data))  # after both are gone


def test_settings_that_encoding_does_not_look_at_may_differ(cache, data, capsys):
    ready(data)
    capsys.readouterr()
    ready(data, seed=7, epochs=3, lstm_units=8, batch_size=2, learning_rate=0.5, offline=True)
    assert taken(capsys)


@pytest.mark.parametrize(
    "other",
    [
        {"max_length": 5},
        {"min_count": 1},
        {"vocabulary_size": 3},
        {"split": "60,20,20"},
        {"limit": 40},
        {"strict": True},
        {"affix_buckets": 9},
    ],
    ids=str,
)
def test_settings_that_matter_may_not_differ(cache, data, capsys, other):
    ready(data)
    capsys.readouterr()
    changed = ready(data, **other)
    assert not taken(capsys)
    assert alike(changed, ready(data, **other))
    assert taken(capsys)


def test_changed_data_is_read_anew_whatever_its_name_and_time(cache, data, capsys):
    ready(data)
    before = data.stat()
    rows = tiny_texts(80)
    write(data, [("a changed " + text, label) for text, label in rows])
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    capsys.readouterr()
    found = ready(data)
    assert not taken(capsys) and "changed" in found.assets["words"]


def test_parts_that_change_places_are_read_anew(cache, tmp_path, capsys):
    one, two = write(tmp_path / "one.csv", tiny_texts(40)), write(tmp_path / "two.csv", tiny_texts(40, seed=1))
    first = ready(one, valid=(str(two),))
    capsys.readouterr()
    second = ready(two, valid=(str(one),))
    assert not taken(capsys)
    assert len(first.stores["train"]) == len(second.stores["train"]) == 40
    assert first.assets["words"] != second.assets["words"]


def test_other_code_or_libraries_read_anew(cache, data, capsys, monkeypatch):
    ready(data)
    capsys.readouterr()
    ready(data, versions={"tensorflow": "2"})
    assert not taken(capsys)
    monkeypatch.setattr(encoded_dataset, "code_hash", lambda folder: "other")
    ready(data)
    assert not taken(capsys)


@pytest.mark.parametrize("harm", ["cut", "missing", "json", "older"])
def test_damaged_cache_is_replaced_in_silence(cache, data, capsys, harm):
    first = ready(data)
    [about] = cache.glob("*/about.json")
    if harm == "json":
        about.write_text("{")
    elif harm == "older":
        about.write_text('{"made_from": {}}')
    else:
        path = about.parent / "train" / "0.bin"
        path.write_bytes(path.read_bytes()[:-1]) if harm == "cut" else path.unlink()
    capsys.readouterr()
    assert alike(first, ready(data))
    assert not taken(capsys)
    assert alike(first, ready(data))
    assert taken(capsys)


def test_broken_rows_are_told_each_time(cache, data, capsys):
    with open(data, "a") as file:
        file.write("only one cell\n")
    ready(data)
    told = capsys.readouterr().err
    assert "Skipped 1 broken row of" in told and "reviews.csv:82 has 1 cell" in told
    ready(data)
    again = capsys.readouterr().err
    assert TAKEN in again and "Skipped 1 broken row of" in again and "reviews.csv:82 has 1 cell" in again
    with pytest.raises(DataError, match=r"reviews\.csv:82"):
        ready(data, strict=True)


def test_nothing_is_kept_where_it_may_not_be(cache, data):
    found = ready(data, cache_encoded=False)
    assert len(found.stores["train"])
    found.close()
    assert list(cache.iterdir()) == []


def test_what_was_used_last_stays(cache, data, monkeypatch):
    monkeypatch.setattr(encoded_cache, "KEPT", 2)
    for seconds, length in enumerate([5, 6]):
        ready(data, max_length=length)
        for about in cache.glob("*/about.json"):
            os.utime(about, (about.stat().st_atime, 1_000_000_000 + seconds))
    ready(data, max_length=5)  # used again
    ready(data, max_length=7)
    kept = [json.loads(path.read_text())["encoded_with"]["max_length"] for path in cache.glob("*/about.json")]
    assert sorted(kept) == [5, 7]


def test_leftovers_of_processes_that_are_gone_are_removed(cache, data):
    gone = cache / f".999999999-{platform.node()}-abc"
    mine = cache / f".{os.getpid()}-{platform.node()}-other"
    elsewhere = cache / ".999999999-another-machine-abc"  # whose processes cannot be known here
    for folder in (gone, mine, elsewhere):
        folder.mkdir(parents=True)
    ready(data)
    assert not gone.exists() and mine.exists() and elsewhere.exists()


def test_run_that_goes_on_keeps_its_assets(cache, data, capsys):
    first = ready(data)
    fingerprint = first.splits.fingerprint
    assert alike(first, ready(data, resumed=(first.assets, fingerprint), epochs=first.config.epochs))
    assert taken(capsys)
    other = first.assets | {"words": first.assets["words"][:3]}
    found = ready(data, resumed=(other, fingerprint), epochs=first.config.epochs)
    assert found.assets == other and not taken(capsys)
    with pytest.raises(RunError, match="The data has changed"):
        ready(data, resumed=(first.assets, "another"))


@pytest.mark.slow
def test_two_runs_by_the_command_line_share_what_was_encoded(cache, data, tmp_path):
    words = ["run", NAME, "--data", data, *SMALL, "--epochs", "1"]
    assert TAKEN not in call(*words, "--run-dir", tmp_path / "a").stderr
    again = call(*words, "--run-dir", tmp_path / "b", "--seed", "1")
    assert TAKEN in again.stderr
    best = [np.load(tmp_path / run / "best_weights.npz") for run in "ab"]
    assert all(np.array_equal(best[0][name], best[1][name]) for name in best[0].files)
    assert TAKEN not in call(*words, "--run-dir", tmp_path / "c", "--no-cache-encoded").stderr
    good("predict", tmp_path / "b", "fine")
