"""Named entities from data to predictions: a small run on made-up sentences, and what is served of it."""

import itertools
import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.encoding import pad_ragged, stack_examples
from common.data.file_formats import open_tagged_file
from common.inference import export as exporting
from common.inference import served_model
from common.inference.predict import predict
from common.inference.predict_request import PredictRequest
from common.modeling.metrics import UNSEEN
from common.row_errors import RowErrors
from common.runtime.run_dir import Run
from common.text.tag_schemes import Scheme, tags_to_spans
from common.types import ExampleSource
from recipes.ner import tagging, writing
from recipes.ner.config import Config
from recipes.ner.recipe import NerRecipe
from tests.helpers.cli_calls import SMALL_NER, good, tagged_sentences, write_conll

TYPES = ["LOC", "ORG", "PER"]
# Of a type that training lacks.
STRANGE = (["they", "sang", "Ode", "to", "Joy", "."], ["O", "O", "B-WORK", "I-WORK", "I-WORK", "O"])


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """CoNLL files by part; the validation part holds an entity of a type that training lacks."""
    folder = tmp_path_factory.mktemp("tagged")
    sentences = {
        "train": tagged_sentences(150),
        "valid": [*tagged_sentences(30, seed=1), STRANGE],
        "test": tagged_sentences(50, seed=2),
    }
    return {name: write_conll(folder / f"{name}.conll", some) for name, some in sentences.items()}


def trained_on(parts, folder, *flags):
    words = [
        word
        for part, flag in (("train", "data"), ("valid", "valid"), ("test", "test"))
        for word in (f"--{flag}", parts[part])
    ]
    good("run", "ner", *words, "--run-dir", folder, *SMALL_NER, *flags)
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def tagger(parts, tmp_path_factory):
    """The folder of a small finished run; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "ner"
    trained_on(parts, folder)
    return folder


@pytest.fixture(scope="module")
def loaded(tagger):
    """(recipe, model) of the run."""
    recipe, model, _ = served_model.load_model(Run.open(tagger))
    return recipe, model


@pytest.fixture(scope="module")
def served(loaded):
    """The run behind its endpoints."""
    return served_model.serve_model(*loaded, None)


@pytest.fixture(scope="module")
def exported(tagger, tmp_path_factory):
    to = tmp_path_factory.mktemp("exports") / "ner"
    good("export", tagger, "--output-dir", to)
    return to / "1"


@pytest.fixture(scope="module")
def export(exported):
    """The export behind its endpoints."""
    return served_model.load_predictor(exported)


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def found_in(served, texts):
    """The entities of each text."""
    predictions = served.predict([{"text": text} for text in texts], served.recipe.format_prediction)
    assert [one["text"] for one in predictions] == list(texts)
    return [one["entities"] for one in predictions]


def written(served, texts, format="json"):
    """What `predict` prints."""
    lines: list[str] = []
    assert predict(served, PredictRequest(tuple(texts), format=format), lambda line: lines.append(line + "\n")) == 0
    return "".join(lines)


# Scores


@pytest.mark.slow
def test_names_never_seen_are_found_by_what_stands_before_them(tagger):
    measured = metrics_of(tagger)["test"]
    assert measured["f1"] > 0.9
    assert {"f1", "f1_raw_text", "precision", "recall", "per_type"} <= set(measured)
    assert set(measured["per_type"]) == set(TYPES)


@pytest.mark.slow
def test_tokens_that_are_words_have_one_score_by_tokens_and_by_text(tagger):
    measured = metrics_of(tagger)["test"]
    assert measured["f1"] == measured["f1_raw_text"]


@pytest.mark.slow
def test_a_type_that_training_lacks_counts_as_wrong(tagger):
    measured = metrics_of(tagger)["valid"]
    assert measured["per_type"][UNSEEN] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert measured["recall"] < 1
    assert "WORK" not in measured["per_type"]


@pytest.mark.slow
def test_validation_by_emissions_equals_validation_by_tokens(tagger):
    lines = [json.loads(line) for line in (tagger / "history.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: (line["valid_f1"], -line["valid_loss"]))
    final = metrics_of(tagger)["valid"]
    for name in ("f1", "precision", "recall"):
        assert best[f"valid_{name}"] == pytest.approx(final[name], abs=1e-12)


@pytest.mark.slow
def test_evaluate_gives_the_measures_of_the_run(tagger, parts):
    measured = json.loads(good("evaluate", tagger, "--data", parts["test"], "--json"))
    expected = metrics_of(tagger)
    assert measured == {**expected["test"], "examples": expected["examples"]["test"]}


@pytest.mark.slow
def test_evaluate_on_texts_with_spans_counts_entities_by_their_characters(export, exported, tmp_path):
    texts = [" ".join(tokens) for tokens, _ in tagged_sentences(40, seed=3)]
    lines, right, found, true = [], 0, 0, 0
    for number, (text, entities_) in enumerate(zip(texts, found_in(export, texts), strict=True)):
        predicted = [(one["start"], one["end"], one["label"]) for one in entities_]
        gold = list(predicted)
        if number % 4 == 0 and gold:  # another type, another end, none at all
            start, end, label = gold[0]
            gold[0] = (start, end, "PER" if label == "LOC" else "LOC")
        elif number % 4 == 1 and gold:
            start, end, label = gold[0]
            gold[0] = (start, end - 1, label)
        elif number % 4 == 2:
            gold = gold[1:]
        right += len(set(gold) & set(predicted))
        found, true = found + len(predicted), true + len(gold)
        lines.append(json.dumps({"text": text, "spans": gold}))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    measured = json.loads(good("evaluate", exported, "--data", tmp_path / "a.jsonl", "--json"))
    assert 0 < right < min(found, true)
    assert measured["precision"] == pytest.approx(right / found)
    assert measured["recall"] == pytest.approx(right / true)
    assert measured["f1"] == measured["f1_raw_text"] == pytest.approx(2 * right / (found + true))
    assert (measured["examples"], measured["entities"]) == (40, true)


# Predictions

WORDS = st.sampled_from(["Mr", "in", "for", "Kalo", "Lomi Renfen", "house", ".", "isn't", "<b>&", "é", "漢字", "😀"])
TEXTS = st.text(max_size=30) | st.lists(WORDS | st.text(max_size=4), max_size=8).map(" ".join)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.lists(TEXTS, min_size=60, max_size=120))
def test_entities_of_any_text_are_slices_of_it_in_order(served, texts):
    for text, found in zip(texts, found_in(served, texts), strict=True):
        at = 0
        for one in found:
            assert list(one) == ["text", "label", "start", "end", "score"]
            assert at <= one["start"] < one["end"] <= len(text)
            assert one["text"] == text[one["start"] : one["end"]] == one["text"].strip()
            assert one["label"] in TYPES
            assert 0 <= one["score"] <= 1
            at = one["end"]


@pytest.mark.slow
def test_texts_without_a_word_have_no_entities(served):
    assert found_in(served, ["", " \t ", "\u200b", "Mr Kalo slept", ""])[:3] == [[], [], []]


@pytest.mark.slow
def test_stdin_gives_one_object_a_line(tagger):
    printed = good("predict", tagger, "-", text="the house of Mr Kalobel\n\n  \nsold in Vordu Mika .\n")
    found = [json.loads(line) for line in printed.splitlines()]
    assert [one["text"] for one in found] == ["the house of Mr Kalobel", "", "  ", "sold in Vordu Mika ."]
    assert [[(e["text"], e["label"], e["start"], e["end"]) for e in one["entities"]] for one in found] == [
        [("Kalobel", "PER", 16, 23)],
        [],
        [],
        [("Vordu Mika", "LOC", 8, 18)],
    ]


def enumerated(recipe, model, tokens):
    """(entities, probability) of every tagging that is possible."""
    outputs = model(pad_ragged(recipe.encode(stack_examples([{"tokens": tokens}]))), training=False)
    emissions = outputs["decided"].numpy()[0].astype(np.float64)
    start, between, end = (np.asarray(one, np.float64) for one in model.get_layer("crf").transitions)
    names = tagging.tag_names(recipe.types, recipe.config.tag_scheme)
    paths = np.array(list(itertools.product(range(len(names)), repeat=len(tokens))))
    scores = start[paths[:, 0]] + end[paths[:, -1]]
    for at in range(len(tokens)):
        scores += emissions[at, paths[:, at]]
        if at:
            scores += between[paths[:, at - 1], paths[:, at]]
    possible = np.isfinite(scores)
    weights = np.exp(scores[possible] - scores.max())
    for path, share in zip(paths[possible], weights / weights.sum(), strict=True):
        yield tags_to_spans([names[tag] for tag in path], Scheme("BIOES")), share


@pytest.mark.slow
@pytest.mark.parametrize("text", ["Mr Kalo Renbel slept", "in Vordu for Mika", "house in Kalo"])
def test_score_of_an_entity_is_its_exact_marginal(served, loaded, text):
    tokens = text.split()
    [found] = found_in(served, [text])
    assert found
    taggings = list(enumerated(*loaded, tokens))
    starts = [text.index(token) for token in tokens]
    for one in found:
        first = starts.index(one["start"])
        entity = (first, first + len(one["text"].split()), one["label"])
        assert one["score"] == pytest.approx(sum(share for spans, share in taggings if entity in spans), abs=1e-4)
    [best] = [spans for spans, share in taggings if share == max(share for _, share in taggings)]
    assert [(starts[first], kind) for first, _, kind in best] == [(one["start"], one["label"]) for one in found]


# Other formats


def read_again(path, text):
    """The sentences of CoNLL lines, by our own reader."""
    path.write_text(text, encoding="utf-8")
    row_errors = RowErrors()
    made = open_tagged_file(path, NerRecipe.fields, (), "utf-8", row_errors)
    found = [(one["tokens"], one["tags"]) for _, one in made.rows()]
    assert row_errors.count == 0
    assert made.repairs.count == 0
    return found


@pytest.mark.slow
def test_conll_is_a_line_for_each_token_and_a_blank_one_after_each_text(served, tmp_path):
    text = written(served, ["the house of Mr Kalobel.", "sold in Vordu Mika"], "conll")
    assert text == (
        "the\tO\nhouse\tO\nof\tO\nMr\tO\nKalobel\tB-PER\n.\tO\n\nsold\tO\nin\tO\nVordu\tB-LOC\nMika\tI-LOC\n\n"
    )
    assert read_again(tmp_path / "a.conll", text) == [
        (["the", "house", "of", "Mr", "Kalobel", "."], ["O", "O", "O", "O", "B-PER", "O"]),
        (["sold", "in", "Vordu", "Mika"], ["O", "O", "B-LOC", "I-LOC"]),
    ]


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.lists(TEXTS, min_size=60, max_size=120))
def test_conll_of_any_text_is_read_again_as_it_was(served, tmp_path_factory, texts):
    texts = ["in Kalo", *(text.replace("\0", "") for text in texts)]  # a text with a NUL is refused
    expected = []
    for _, outputs in served.iter_outputs("serving_default", [{"text": text} for text in texts]):
        for row, length in enumerate(outputs["lengths"]):
            if length:
                tokens, tags = (
                    [one.decode() for one in outputs[name][row, :length].tolist()] for name in ("tokens", "tags")
                )
                expected.append((tokens, tags))
    found = read_again(tmp_path_factory.mktemp("conll") / "a.conll", written(served, texts, "conll"))
    assert sorted(found) == sorted(expected)


class Page(HTMLParser):
    """The paragraphs of a page as (text, [(marked text, label)]); fails where elements do not nest."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.paragraphs = [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "meta":
            return
        inside = {"p": "html", "mark": "p", "small": "mark"}
        assert tag not in inside or self.open[-1] == inside[tag]
        self.open.append(tag)
        if tag == "p":
            self.paragraphs.append(["", []])
        if tag == "mark":
            self.paragraphs[-1][1].append(["", ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "p" in self.open:
            text, marks = self.paragraphs[-1]
            if self.open[-1] == "small":
                marks[-1][1] += data
                return
            self.paragraphs[-1][0] = text + data
            if self.open[-1] == "mark":
                marks[-1][0] += data
        else:
            assert self.open[-1:] != ["html"] or not data.strip()


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.lists(st.lists(WORDS | st.text("<>&\"'/;amp lt", max_size=5), max_size=8).map(" ".join), max_size=60))
def test_html_shows_every_text_with_its_entities_marked(served, texts):
    texts = ["Mr Kalo in <b>&amp;Lomi</b>", *texts]
    page = Page(written(served, texts, "html"))
    expected = [
        [text, [[one["text"], one["label"]] for one in found]]
        for text, found in zip(texts, found_in(served, texts), strict=True)
    ]
    assert page.paragraphs == expected
    assert expected[0][1]


def test_html_escapes_names_of_types():
    format = writing.html_format(['a"<b>'])
    outputs = {
        "tokens": [b"x"],
        "tags": [b'B-a"<b>'],
        "starts": [1],
        "ends": [2],
        "lengths": 1,
        "scores": [0.987],
    }
    shown = format.format_row({"text": "<x>"}, outputs)
    assert Page(format.header + shown + format.footer).paragraphs == [["<x>", [["x", 'a"<b>']]]]
    assert 'title="a&quot;&lt;b&gt; 0.99"' in shown


# Exports


@pytest.mark.slow
def test_export_is_proved_by_both_endpoints(exported):
    card = json.loads((exported / "assets.extra" / "card.json").read_text())
    assert card["proof"]["inputs"] > exporting.MANY + exporting.FEWER
    assert card["proof"]["max_abs_difference"] <= exporting.TOLERANCE
    tagged = {"tags": "string[None, None]", "scores": "float32[None, None]", "lengths": "int32[None]"}
    assert card["signatures"]["tokens"] == {"inputs": {"tokens": "string[None, None]"}, "outputs": tagged}
    by_text = card["signatures"]["serving_default"]
    assert by_text["inputs"] == {"text": "string[None]"}
    assert set(by_text["outputs"]) == {"tokens", "starts", "ends", *tagged}


@pytest.mark.slow
def test_predictions_of_run_and_export_are_alike(served, export):
    texts = ["the house of Mr Kalobel", "", "😀 in  Vordu", "for Mika " * 400, "\ufeffin Kalo"]
    for first, second in zip(found_in(served, texts), found_in(export, texts), strict=True):
        assert [{**one, "score": 0} for one in first] == [{**one, "score": 0} for one in second]
        assert [one["score"] for one in first] == pytest.approx([one["score"] for one in second], abs=1e-5)


@pytest.mark.slow
def test_signatures_give_the_same_by_tokens_and_by_text(exported):
    rows = [tokens for tokens, _ in tagged_sentences(20, seed=4)] + [[], ["Kalo"]]
    signatures = tf.saved_model.load(str(exported)).signatures
    by_text = signatures["serving_default"](text=tf.constant([" ".join(row) for row in rows]))
    most = max(map(len, rows))
    padded = tf.constant([row + [""] * (most - len(row)) for row in rows])
    by_tokens = signatures["tokens"](tokens=padded)
    assert by_text["tokens"].numpy().tolist() == padded.numpy().tolist()
    assert by_tokens["lengths"].numpy().tolist() == [len(row) for row in rows]
    for name in ("tags", "lengths"):
        assert by_text[name].numpy().tolist() == by_tokens[name].numpy().tolist()
    np.testing.assert_allclose(by_text["scores"], by_tokens["scores"], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0), (2, 3)])
def test_signature_of_tokens_takes_batches_without_tokens(export, shape):
    found = export.calls["tokens"].function({"tokens": tf.fill(shape, "")})
    assert found["tags"].shape == found["scores"].shape == shape  # as wide as what was given
    assert found["lengths"].tolist() == [0] * shape[0]


# Other settings


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--decoder", "softmax", "--tag-scheme", "iob2", "--char-encoder", "none"),
        ("--tag-scheme", "iob2", "--char-encoder", "lstm", "--wide-buckets", "0", "--affix-buckets", "0"),
    ],
    ids=["softmax", "lstm"],
)
def test_other_settings_train_and_serve(parts, tmp_path, flags):
    measured = trained_on(parts, tmp_path / "a", *flags, "--epochs", "8")["test"]
    assert measured["f1"] > 0.5
    served = served_model.load_predictor(tmp_path / "a")
    text = "the house of Mr Kalobel sold in Vordu"
    [found] = found_in(served, [text])
    assert found
    for one in found:
        assert one["text"] == text[one["start"] : one["end"]]
        assert 0.1 < one["score"] <= 1
    shutil.rmtree(tmp_path / "a")


@pytest.mark.parametrize("scheme", ["iob2", "bioes"])
def test_softmax_loss_and_tags_are_those_of_numpy(scheme):
    examples = [{"text": " ".join(tokens), "tokens": tokens, "tags": tags} for tokens, tags in tagged_sentences(9)]
    config = Config(decoder="softmax", tag_scheme=scheme, wide_buckets=0, lstm_units=4, embedding_dim=4)
    recipe = NerRecipe(config, NerRecipe.build_assets(config, ExampleSource("made up", lambda: iter(examples))))
    names = tagging.tag_names(recipe.types, scheme)
    random = np.random.default_rng(1)
    batch = [*examples[:3], {**examples[3], "tags": [tag.replace("-LOC", "-ELSE") for tag in examples[3]["tags"]]}]
    batch[3]["tags"][0] = "B-ELSE"  # a type that training lacks: the sentence does not count
    lengths = np.array([len(one["tokens"]) for one in batch], np.int32)
    emissions = random.normal(0, 1, (4, lengths.max() + 1, len(names))).astype(np.float32)
    target = pad_ragged(recipe.encode_targets(stack_examples([{"tags": one["tags"]} for one in batch])))
    target = {name: tf.pad(value, [[0, 0], [0, 1]]) for name, value in target.items()}
    sums, weights = recipe.compute_loss(None, target, {"emissions": tf.constant(emissions), "lengths": lengths})
    logs = emissions - np.log(np.exp(emissions).sum(axis=2, keepdims=True))
    wanted = [
        -sum(logs[row, at, target["tags"][row, at]] for at in range(lengths[row])) if row < 3 else 0 for row in range(4)
    ]
    np.testing.assert_allclose(sums, wanted, rtol=1e-5)
    np.testing.assert_array_equal(weights, [*lengths[:3], 0])
    found = recipe.decode(None, tf.constant(emissions), lengths).numpy()
    for row, length in enumerate(lengths):
        assert found[row].tolist() == [*emissions[row, :length].argmax(axis=1), *[0] * (found.shape[1] - length)]
