"""Predictions as first annotations, and their way back as data once people have accepted them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.file_formats import open_table_file, open_tagged_file
from common.errors import ConfigError
from common.inference import served_model
from common.inference.annotate import AnnotationTarget, write_annotations
from common.inference.annotation_formats import (
    LabelStudioTags,
    get_annotation_type,
    to_doccano_line,
    to_label_studio_task,
)
from common.inference.predict_request import PredictRequest
from common.row_errors import RowErrors
from recipes.ner.data import FIELDS as NER
from recipes.sentiment.data import FIELDS as SENTIMENT
from tests.helpers.cli_calls import SMALL_NER, call, fails, good, tagged_sentences

NAMES = LabelStudioTags("model", "text", {"label": "sentiment", "entities": "label"}, "text")
TEXTS = ["a great film", "😀 the plot was awful", "lovely music e\u0301"]
SENTENCES = [" ".join(tokens) for tokens, _ in tagged_sentences(12, seed=5)] + ["😀 rained in Kalo", "nobody"]


def spans_of(tokens, tags):
    """[start, end, type] in the characters of the tokens joined by blanks."""
    found, at = [], 0
    for token, tag in zip(tokens, tags, strict=True):
        if tag.startswith("I-"):
            found[-1][1] = at + len(token)
        elif tag != "O":
            found.append([at, at + len(token), tag[2:]])
        at += len(token) + 1
    return found


@pytest.fixture(scope="module")
def labels(trained):
    """(folder, run) of a recipe that predicts labels."""
    return trained, served_model.load_predictor(trained)


@pytest.fixture(scope="module")
def entities(tmp_path_factory):
    """(folder, run) of one that predicts entities, trained on an export of doccano."""
    folder = tmp_path_factory.mktemp("entities")
    rows = [{"text": " ".join(tokens), "label": spans_of(tokens, tags)} for tokens, tags in tagged_sentences(100)]
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    good("run", "ner", "--data", folder / "all.jsonl", "--run-dir", folder / "run", *SMALL_NER, "--split", "90,10,0")
    return folder / "run", served_model.load_predictor(folder / "run")


def inputs(folder, texts):
    path = folder / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def exported(run, source, tool, **names):
    """(what is written, what is said to do next)."""
    pieces: list[str] = []
    target = AnnotationTarget(tool, **names)
    bad, step = write_annotations(*run, PredictRequest(source=str(source)), target, pieces.append)
    assert bad == 0
    return "".join(pieces), step


def presented(run, texts):
    """What `predict` shows of texts."""
    return run[1].predict([{"text": text} for text in texts], run[1].recipe.format_prediction)


def accepted(tasks):
    """The export of a project in which a person agreed with every prediction, as Label Studio writes it."""
    return [
        {
            "id": number,
            "data": task["data"],
            "annotations": [{"id": 1, "was_cancelled": False, "result": one["result"]} for one in task["predictions"]],
            "predictions": [],
        }
        for number, task in enumerate(tasks, 1)
    ]


def read_back(folder, tool, written, fields):
    """The examples in what a tool was given, when all of it was accepted."""
    path = folder / "export.json"
    path.write_text(json.dumps(accepted(json.loads(written))) if tool == "label-studio" else written, encoding="utf-8")
    open_file = open_tagged_file if fields is NER else open_table_file
    return [example for _, example in open_file(path, fields, (), None, RowErrors(strict=True)).rows()]


@pytest.mark.parametrize("tool", ["label-studio", "doccano"])
def test_labels_that_are_accepted_come_back_as_data(labels, tmp_path, tool):
    written, _ = exported(labels, inputs(tmp_path, TEXTS), tool)
    expected = [{"text": one["text"], "label": one["label"]} for one in presented(labels, TEXTS)]
    assert read_back(tmp_path, tool, written, SENTIMENT) == expected
    assert [one["text"] for one in expected] == TEXTS


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["label-studio", "doccano"])
def test_entities_that_are_accepted_come_back_as_data(entities, tmp_path, tool):
    written, _ = exported(entities, inputs(tmp_path, SENTENCES), tool)
    expected = presented(entities, SENTENCES)
    assert sum(len(one["entities"]) for one in expected) > 10
    assert [(one["text"], one["entities"]) for one in read_back(tmp_path, tool, written, NER)] == [
        (one["text"], [[entity["start"], entity["end"], entity["label"]] for entity in one["entities"]])
        for one in expected
    ]


@pytest.mark.slow
def test_entities_are_named_as_in_the_tools_template(entities, tmp_path):
    written, step = exported(entities, inputs(tmp_path, SENTENCES), "label-studio")
    results = [one for task in json.loads(written) for one in task["predictions"][0]["result"]]
    assert {(one["from_name"], one["to_name"], one["type"]) for one in results} == {("label", "text", "labels")}
    assert '<Labels name="label" toName="text"> and <Text name="text" value="$text">, import what was printed' in step


def test_accepted_predictions_are_evaluated_without_a_mistake(trained, tmp_path):
    source, to = inputs(tmp_path, TEXTS), tmp_path / "new" / "tasks.json"
    result = call("pre-annotate", trained, "--input", source, "--tool", "label-studio", "--output", to)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1] == (
        'Next: in a project of Label Studio whose interface has <Choices name="sentiment" toName="text"> and'
        f' <Text name="text" value="$text">, import {to}.'
    )
    assert [path.name for path in to.parent.iterdir()] == ["tasks.json"]
    done = [*accepted(json.loads(to.read_text("utf-8"))), {"id": 99, "data": {"text": "new"}, "annotations": []}]
    to.write_text(json.dumps(done), encoding="utf-8")
    measured = json.loads(good("evaluate", trained, "--data", to, "--json"))
    assert (measured["accuracy"], measured["examples"]) == (1.0, 3)


def test_a_task_of_label_studio_holds_names_version_and_scores(labels, tmp_path):
    [shown] = presented(labels, TEXTS[:1])
    written, _ = exported(labels, inputs(tmp_path, TEXTS[:1]), "label-studio", from_name="kind", to_name="review")
    result = {
        "id": "1",
        "from_name": "kind",
        "to_name": "review",
        "type": "choices",
        "value": {"choices": [shown["label"]]},
        "score": shown["score"],
    }
    prediction = {"model_version": "sentiment", "score": shown["score"], "result": [result]}
    assert json.loads(written) == [{"data": {"text": TEXTS[0]}, "predictions": [prediction]}]


def test_tasks_that_wait_for_annotation_are_inputs(labels, tmp_path):
    tasks = [{"id": 4, "data": {"text": text}, "annotations": [], "predictions": []} for text in TEXTS]
    (tmp_path / "waiting.json").write_text(json.dumps(tasks))
    written, step = exported(labels, tmp_path / "waiting.json", "doccano")
    assert [json.loads(line)["text"] for line in written.splitlines()] == TEXTS
    assert step.startswith("Next: in a project of doccano, choose Dataset,")


def test_inputs_that_cannot_be_used_are_told_and_the_others_written(trained, tmp_path):
    source, to = tmp_path / "texts.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "a great film"}\n{"text": "cut \\ud83d"}\n{"text": "awful"}\n')
    result = call("pre-annotate", trained, "--input", source, "--tool", "doccano", "--output", to)
    assert result.exit_code == 1
    assert "texts.jsonl:2 holds half a character (a lone surrogate); it is left out." in result.stderr
    assert [json.loads(line)["label"] for line in to.read_text().splitlines()] == [["good"], ["bad"]]


@pytest.mark.parametrize(("tool", "content"), [("label-studio", "[]\n"), ("doccano", "")])
def test_no_inputs_make_an_empty_file(labels, tmp_path, tool, content):
    assert exported(labels, inputs(tmp_path, []), tool)[0] == content


def test_what_cannot_be_written_is_refused_in_a_sentence(trained, tmp_path):
    source, to = inputs(tmp_path, TEXTS), tmp_path / "kept.json"
    to.write_text("before")
    words = ["pre-annotate", trained, "--output", to, "--tool", "doccano"]
    assert "say --tool label-studio." in fails(*words, "--input", source, "--from-name", "kind", status=2)
    assert "does not exist" in fails(*words, "--input", tmp_path / "no.txt")
    assert to.read_text() == "before"
    with pytest.raises(ConfigError, match='predict a label or entities, and this one gives "text", "translation"'):
        get_annotation_type({"text": "Yes", "translation": "Ja"})


WORD = st.text("ab\u0301é😀👩\u200d🇩東", max_size=4).map(lambda letters: f"w{letters}")


@settings(max_examples=25, deadline=None)
@given(words=st.lists(st.tuples(WORD, st.sampled_from(["", "PER", "LOC"])), min_size=1, max_size=6), data=st.data())
def test_entities_come_back_from_both_tools_whatever_the_characters(tmp_path_factory, words, data):
    folder, text, spans = tmp_path_factory.mktemp("spans"), "", []
    for word, label in [*words, ("wAnn", "PER")]:
        text += data.draw(st.sampled_from([" ", "  ", "😀 ", "e\u0301 "]))
        if label:
            spans.append([len(text), len(text) + len(word), label])
        text += word
    shown = {"entities": [{"start": start, "end": end, "label": label} for start, end, label in spans]}
    for tool, made in (
        ("label-studio", [to_label_studio_task(text, shown, NAMES)]),
        ("doccano", to_doccano_line(text, shown)),
    ):
        [example] = read_back(folder, tool, json.dumps(made), NER)
        assert (example["text"], example["entities"]) == (text, spans)


def test_the_score_of_a_text_is_that_of_its_least_sure_entity():
    places = [(0, 3, "PER", 0.9), (7, 11, "LOC", 0.4)]
    spans = [dict(zip(("start", "end", "label", "score"), place, strict=True)) for place in places]
    [prediction] = to_label_studio_task("Ann in Rome", {"entities": spans}, NAMES)["predictions"]
    assert prediction["score"] == 0.4
    assert [(one["value"]["text"], one["score"]) for one in prediction["result"]] == [("Ann", 0.9), ("Rome", 0.4)]
    assert to_label_studio_task("nobody", {"entities": []}, NAMES)["predictions"] == [
        {"model_version": "model", "result": []}
    ]
