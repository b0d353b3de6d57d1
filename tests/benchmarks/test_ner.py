"""The benchmark of named entities: what it computes itself; no peer is needed."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest

from common import PROJECT_ROOT as ROOT

SCRIPT = ROOT / "benchmarks" / "ner.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_ner", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_f1_counts_whole_entities(benchmark):
    given = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG"]]
    # Of three entities two are found: the person lacks its second word, so three are named and two are right.
    assert benchmark.f1(given, [["B-PER", "O", "O", "B-LOC"], ["O", "B-ORG"]]) == pytest.approx(2 / 3)
    assert benchmark.f1(given, given) == 1
    assert benchmark.f1(given, [["O"] * 4, ["O"] * 2]) == 0


def loaded(benchmark, path):
    return benchmark.load_parts(SimpleNamespace(train=path, valid=path, test=None, default=False))[0]


def test_parts_are_read_as_iob2(benchmark, tmp_path):
    path = tmp_path / "some.conll"
    path.write_text("-DOCSTART- O\n\nThe O\nUN I-ORG\n\nin O\nNew I-LOC\nYork I-LOC\n", encoding="utf-8")
    sentences = [(["The", "UN"], ["O", "B-ORG"]), (["in", "New", "York"], ["O", "B-LOC", "I-LOC"])]
    assert loaded(benchmark, path) == {"train": sentences, "valid": sentences}


def test_written_sentences_are_read_again(benchmark, tmp_path):
    sentences = [(["a", "ke s"], ["B-PER", "B-PER"]), (["#"], ["O"])]
    assert loaded(benchmark, benchmark.write(tmp_path / "some.conll", sentences))["train"] == sentences


def test_features_are_of_the_word_and_two_neighbours_each_way(benchmark):
    first, second, third, last = benchmark.features(["Dr.", "McCoy", "of", "1984"])
    assert {"word=McCoy", "lower=mccoy", "shape=XxXxx", "prefix=mcco", "suffix=y", "-1:lower=dr.", "2:lower=1984"} <= {
        *second
    }
    assert {"before=dr.|mccoy", "after=mccoy|of", "-2:none", "1:shape=xx", "2:digits"} <= {*second}
    assert {"-1:none", "-2:none", "title"} <= {*first} and not any(one.startswith("before") for one in first)
    assert {"1:none", "2:none", "digits", "digit", "-2:lower=mccoy"} <= {*last}
    assert "1:none" not in third and "2:none" in third


def test_table_is_markdown_with_a_dash_where_there_is_no_test_part(benchmark):
    row = {"f1": {"valid": 0.5}, "seconds": 12.34, "words_per_second": 5678.9, "milliseconds": 1.5}
    header, rule, line = benchmark.table({"spacy": row}).splitlines()
    assert header.count("|") == rule.count("|") == line.count("|") == 8
    assert line.startswith("| spacy | 0.5000 | - | 12.3 | 5,679 | 1.50 | spaCy's blank English pipeline")


def test_tagging_speed_asks_for_batches_and_for_single_sentences(benchmark):
    sizes = []

    def tag(sentences):
        sizes.append(len(sentences))
        return [["O"] * len(tokens) for tokens in sentences]

    found = benchmark.answers({"train": [], "valid": [(["a", "b"], ["O", "O"])] * 300}, 1.0, tag)
    assert found["tags"] == {"valid": [["O", "O"]] * 300}
    assert sizes == [256, 44] * 6 + [1] * 400
    assert found["words_per_second"] > 0 and found["milliseconds"] > 0


@pytest.mark.parametrize("words", [(), ("--default", "--train", "x"), ("--train", "x")])
def test_usage_is_told(words):
    result = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith("give --train and --valid, or --default alone")


def test_missing_file_is_one_sentence(tmp_path):
    words = ["--train", tmp_path / "none.conll", "--valid", tmp_path / "none.conll"]
    result = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ") and "none.conll" in result.stderr
