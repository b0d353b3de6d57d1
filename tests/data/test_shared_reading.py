"""Parts of one source that are read in one pass: the same examples as alone, and how often a run reads its files."""

import builtins
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common import discovery
from common.config import RunConfig
from common.data.example_filters import Reservoir, filter_examples, reservoir_sample
from common.data.shared_reading import NO_SPLIT, HeldOutExamples, SplitReader, SplitRows, add_step, keep_in_memory
from common.data.shared_reading import read_together as together
from common.data.splitting import load_splits
from common.errors import DataError
from common.row_errors import RowErrors
from common.training.encoded_dataset import prepare_run
from common.types import ExampleSource, Field
from tests.helpers.cli_calls import tiny_images, tiny_texts, write, write_images

FIELDS = (Field("text", "text"), Field("label", "label"))


def counting(rows):
    """A source, and how often it was begun and how many of its examples were read."""
    counts = Counter()

    def read():
        counts["passes"] += 1
        for row in rows:
            counts["examples"] += 1
            yield row

    return ExampleSource("counted", read), counts


def parts(source, count=3):
    def assign(example):
        number = example["number"] % (count + 1)
        return number if number < count else NO_SPLIT

    rows = SplitRows(source, assign)
    return [ExampleSource(f"part {number}", SplitReader(rows, number)) for number in range(count)]


def test_splits_are_the_same_together_as_alone_and_assigned_once():
    assigned = []
    source, counts = counting([{"number": number} for number in range(50)])
    rows = SplitRows(source, lambda example: assigned.append(example) or example["number"] % 2)
    even, odd = (ExampleSource("", SplitReader(rows, number)) for number in range(2))
    assert [one["number"] for one in even] == list(range(0, 50, 2))
    assert [one["number"] for one in odd] == list(range(1, 50, 2))
    assert [(name, one["number"]) for name, one in together({"b": odd, "a": even})] == [
        ("ab"[number % 2], number) for number in range(50)
    ]
    assert counts == {"passes": 3, "examples": 150} and len(assigned) == 50


def test_a_pass_that_is_broken_off_assigns_nothing_for_good():
    source, _ = counting([{"number": number} for number in range(5)])
    one, other, _ = parts(source)
    assert next(iter(one)) == {"number": 0}
    assert [example["number"] for example in other] == [1]


@pytest.mark.parametrize("later", [4, 6, 0])
def test_data_that_changes_while_it_is_read_is_an_error(later):
    rows = [{"number": number} for number in range(5)]
    one, _, _ = parts(ExampleSource("a.csv", lambda: iter(rows)))
    assert [example["number"] for example in one] == [0, 4]
    rows[:] = [{"number": number} for number in range(later)]
    with pytest.raises(DataError, match=r"a\.csv has changed while it was read"):
        list(one)


def test_samples_and_filters_are_the_same_together_as_alone():
    def made():
        source, counts = counting([{"number": number} for number in range(400)])
        first, second, third = parts(source)
        first = reservoir_sample(
            filter_examples(first, lambda example: "three" if example["number"] % 3 == 0 else ""), 7
        )
        second = filter_examples(
            reservoir_sample(second, 9), lambda example: "five" if example["number"] % 5 == 0 else ""
        )
        return {"first": first, "second": second, "third": third}, counts

    sources, counts = made()
    alone = {name: list(source) for name, source in sources.items()}
    assert counts["passes"] == 3
    sources, counts = made()
    found = {name: [] for name in sources}
    for name, example in together(sources):
        found[name].append(example)
    assert found == alone and counts == {"passes": 1, "examples": 400}
    assert len(found["first"]) == 7


def test_other_sources_have_passes_of_their_own():
    source, counts = counting([{"number": number} for number in range(8)])
    first, second, _ = parts(source)
    apart, apart_counts = counting([{"number": 100}])
    names = Counter(name for name, _ in together({"first": first, "apart": apart, "second": second}))
    assert names == {"first": 2, "apart": 1, "second": 2}
    assert counts["passes"] == apart_counts["passes"] == 1


def test_a_sample_is_of_the_file_order():
    source, _ = counting([{"number": number} for number in range(100)])
    sample = [example["number"] for example in add_step(source, lambda: Reservoir(10))]
    assert len(sample) == 10 and sample == sorted(sample)
    assert sample == [example["number"] for example in reservoir_sample(source, 10)]


def test_held_out_examples_are_read_once_and_come_back_as_they_were(tmp_path):
    rows = [{"number": number, "bytes": b"\0\xff", "text": "\udcff", "notes": np.arange(number)} for number in range(9)]
    source, counts = counting(rows)
    _, valid, test = parts(source)
    held_out = HeldOutExamples({"valid": valid, "test": test}, tmp_path / "cache")
    kept = held_out.kept()
    for _ in range(2):
        both = zip(kept["valid"], kept["test"], strict=False)  # side by side
        assert [(one["number"], other["number"]) for one, other in both] == [(1, 2), (5, 6)]
    [first, _] = kept["valid"]
    assert first["bytes"] == b"\0\xff" and first["text"] == "\udcff" and first["notes"].tolist() == [0]
    assert counts["passes"] == 1
    assert not list((tmp_path / "cache").iterdir())
    held_out.close()


def test_what_is_kept_in_memory_tells_its_problems_in_each_pass():
    row_errors = RowErrors()
    row_errors.add("a.csv:2", "is broken")
    source = keep_in_memory(ExampleSource("small", lambda: iter(()), row_errors), [{"text": "a"}])
    for _ in range(2):
        row_errors.count_filtered("by a later step")
        assert [example["text"] for example in source] == ["a"]
        assert row_errors.first_errors() == ["a.csv:2 is broken"] and not row_errors.filtered_summary()


@pytest.mark.parametrize("count", [60, 1_500])
def test_parts_of_a_run_are_those_of_passes_of_their_own(tmp_path, count):
    data = write(tmp_path / "reviews.csv", [*tiny_texts(count), ("broken", "")])
    splits = load_splits(RunConfig(data=(str(data),), limit=300), FIELDS, lambda: None)
    alone = {name: list(source) for name, source in splits.items()}
    found = {name: [] for name in alone}
    for name, example in together(dict(splits.items())):
        found[name].append(example)
    assert found == alone
    assert splits.train.row_errors.first_errors() == [f"reviews.csv:{count + 2} has no label"]


# A whole run


class Opened(Counter):
    """How often each file below a folder is opened."""

    def __init__(self, folder, monkeypatch):
        super().__init__()
        self.folder = str(folder)
        plain = builtins.open, Path.read_bytes

        def count(path):
            if str(path).startswith(self.folder):
                self[Path(path).name] += 1

        def opening(path, *args, **more):
            count(path)
            return plain[0](path, *args, **more)

        monkeypatch.setattr(builtins, "open", opening)
        monkeypatch.setattr(Path, "read_bytes", lambda path: count(path) or plain[1](path))


def scored(found):
    """Reads all that a run reads once it is trained: the held-out parts, the samples."""
    return [[list(source) for name, source in found.splits.items() if name != "train"] for _ in range(3)]


def test_a_run_parses_its_data_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe_class, config_class = discovery.load_recipe("sentiment"), discovery.load_recipe_config("sentiment").Config
    rows = [{"text": text, "label": label} for text, label in tiny_texts(1_200)]
    source, passes = counting(rows)
    monkeypatch.setattr(
        recipe_class,
        "load_data",
        classmethod(lambda cls, config: load_splits(config, FIELDS, lambda: (source, {"licence": "MIT"}))),
    )
    found = prepare_run("sentiment", config_class(), {})
    first = scored(found)
    assert passes == {"passes": 2, "examples": 2 * len(rows)}
    assert [len(part) for part in first[0]] == [len(list(part)) for part in (found.splits.valid, found.splits.test)]
    found.close()
    passes.clear()
    again = prepare_run("sentiment", config_class(), {})  # taken over, so that nothing but the held-out parts is read
    assert passes == {}
    assert scored(again) == first and passes == {"passes": 1, "examples": len(rows)}
    again.close()


@pytest.mark.parametrize(("count", "most"), [(40, 2), (1_100, 3)])
def test_a_run_reads_each_image_once_for_its_fingerprint_and_few_times_more(tmp_path, monkeypatch, count, most):
    # Few images are kept in memory. Of many, the fingerprint, what is learned and the encoding read each once.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    write_images(tmp_path / "data", tiny_images(count))
    opened = Opened(tmp_path / "data", monkeypatch)
    config = discovery.load_recipe_config("image_classification").Config(data=(str(tmp_path / "data"),))
    found = prepare_run("image_classification", config, {})
    scored(found)
    found.close()
    assert len(opened) == count and max(opened.values()) == most
