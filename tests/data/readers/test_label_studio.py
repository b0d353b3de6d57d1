"""Exports of tools for annotation: tasks and rows of Label Studio, lines and arrays of doccano."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import RunConfig
from common.data.file_formats import open_table_file, open_tagged_file
from common.data.loading import open_table_source
from common.data.readers.label_studio import span_in_characters
from common.errors import ConfigError, DataError
from common.row_errors import RowErrors
from common.types import Field
from tests.helpers.cli_calls import good

LABELS = (Field("text", "text", ("review", "body")), Field("label", "label", ("sentiment", "class")))
TAGS = (Field("tokens", "tokens", ("words", "text")), Field("tags", "tags", ("ner_tags", "label", "entities")))


def opened(folder, content, fields=LABELS, columns=(), strict=False, names=None, name="export.json"):
    """The reader of an export, of objects or as it is written."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    open_file = open_tagged_file if fields is TAGS else open_table_file
    return open_file(path, fields, columns, None, RowErrors(strict), names)


def chosen(*choices, name="sentiment", **more):
    """An annotation with choices."""
    value = {"choices": list(choices)}
    return {"result": [{"from_name": name, "to_name": "text", "type": "choices", "value": value}], **more}


def marked(*spans, name="label", **more):
    """An annotation with spans: (start, end, the text between them, label)."""
    values = [{"start": start, "end": end, "text": text, "labels": [label]} for start, end, text, label in spans]
    results = [{"from_name": name, "to_name": "text", "type": "labels", "value": value} for value in values]
    return {"result": results, **more}


def task(number, text, *annotations, **data):
    return {"id": number, "data": {"text": text, **data}, "annotations": list(annotations), "predictions": []}


def minimal(number, text, annotation=1, updated="2024-05-01T10:00:00Z", **more):
    """A row of JSON-MIN."""
    about = {"annotator": 1, "annotation_id": annotation, "created_at": updated, "updated_at": updated, "lead_time": 2}
    return {"text": text, "id": number, **more, **about}


def pairs(found):
    return [(one["text"], one["label"]) for _, one in found.rows()]


def entities(found):
    return [(one["text"], one["entities"]) for _, one in found.rows()]


def test_choices_of_tasks_are_labels(tmp_path):
    found = opened(tmp_path, [task(17, "fine", chosen("Positive"), source="shop"), task(4, "dull", chosen("Negative"))])
    expected = [
        ("export.json: task 17", {"text": "fine", "label": "Positive"}),
        ("export.json: task 4", {"text": "dull", "label": "Negative"}),
    ]
    assert list(found.rows()) == list(found.rows()) == expected
    assert found.description == 'export.json: Label Studio, text = "text", label = choices of "sentiment"'
    assert not found.row_errors.count


def test_an_export_is_known_by_its_content_whatever_its_name(tmp_path):
    assert pairs(opened(tmp_path, [task(1, "fine", chosen("pos"))], name="reviews")) == [("fine", "pos")]
    line = json.dumps(task(1, "fine", chosen("pos")))
    assert pairs(opened(tmp_path, f"{line}\n{line}\n", name="tasks.jsonl")) == [("fine", "pos")] * 2


def test_tasks_that_are_not_annotated_are_left_out_and_counted(tmp_path):
    skipped, nothing = chosen("neg", was_cancelled=True), {"result": [], "was_cancelled": False}
    tasks = [task(1, "a"), task(2, "b", skipped), task(3, "c", nothing), task(4, "d", skipped, chosen("pos"))]
    found = opened(tmp_path, tasks, strict=True)
    assert pairs(found) == [("d", "pos")]
    assert found.row_errors.filtered_summary() == "3 not labelled"


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_annotations_the_ground_truth_counts_and_else_the_latest(tmp_path, order):
    older, newer = {"updated_at": "2024-05-01T10:00:00.5Z"}, {"updated_at": "2024-05-02T09:00:00.1Z"}
    several = [
        [chosen("pos", ground_truth=True, **older), chosen("neg", ground_truth=False, **newer)],
        [chosen("neg", **older), chosen("pos", **newer)],
        [chosen("pos", **older), chosen("pos", **newer)],
        [chosen("pos", **older), chosen("neg", was_cancelled=True, **newer)],
    ]
    found = opened(tmp_path, [task(number, "a", *some[::order]) for number, some in enumerate(several)])
    assert pairs(found) == [("a", "pos")] * 4
    assert found.description.endswith(
        '"sentiment"; people disagree on 2 tasks, of which the ground truth or else the latest annotation is taken'
    )


def test_of_annotations_without_a_time_the_last_listed_counts(tmp_path):
    assert pairs(opened(tmp_path, [task(1, "a", chosen("neg"), chosen("pos"))])) == [("a", "pos")]


def test_spans_in_another_order_are_no_disagreement(tmp_path):
    first, second = (0, 3, "Ann", "PER"), (7, 11, "Rome", "LOC")
    found = opened(tmp_path, [task(1, "Ann in Rome", marked(first, second), marked(second, first))], TAGS)
    assert "disagree" not in found.description
    found = opened(tmp_path, [task(1, "Ann in Rome", marked(first, second), marked(first))], TAGS)
    assert "people disagree on 1 task," in found.description


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (
            task(9, "a", chosen("pos", "neg")),
            'task 9 "sentiment" holds 2 labels ("pos", "neg"), where one is wanted',
        ),
        ({"id": 9, "data": {"title": "a"}, "annotations": [chosen("pos")]}, "task 9 has no text"),
        ({"id": 9, "data": "a", "annotations": [chosen("pos")]}, 'task 9 has no "data"'),
        (task(9, 5.5, chosen([])), 'task 9 "sentiment" holds a list of spans'),
        ({"data": {"text": "a\0"}, "annotations": [chosen("pos")]}, "row 2 holds a NUL byte"),
        (3, "row 2 is JSON, but no object"),
    ],
)
def test_tasks_that_cannot_be_used_are_told_with_their_place(tmp_path, broken, told):
    tasks = [task(1, "fine", chosen("pos")), broken]
    found = opened(tmp_path, tasks)
    assert pairs(found) == [("fine", "pos")]
    assert [line.startswith(f"export.json: {told}") for line in found.row_errors.first_errors()] == [True]
    with pytest.raises(DataError, match=r"export\.json: (task 9|row 2) .*leave out --strict"):
        pairs(opened(tmp_path, tasks, strict=True))


def test_several_fields_of_choices_are_told_apart_by_a_flag(tmp_path):
    both = {"result": chosen("pos")["result"] + chosen("shop", name="topic")["result"]}
    tasks = [task(1, "fine", both), task(2, "dull", chosen("bar", name="topic"))]
    with pytest.raises(DataError, match='choices of "sentiment" and "topic": say which by --column label=sentiment'):
        opened(tmp_path, tasks)
    found = opened(tmp_path, tasks, columns=["label=topic"])
    assert pairs(found) == [("fine", "shop"), ("dull", "bar")]
    assert found.description == 'export.json: Label Studio, text = "text", label = choices of "topic"'
    found = opened(tmp_path, tasks, columns=["label=sentiment"])
    assert (pairs(found), found.row_errors.filtered_summary()) == ([("fine", "pos")], "1 not labelled")
    with pytest.raises(ConfigError, match=r'no such column.*Did you mean "topic"'):
        opened(tmp_path, tasks, columns=["label=topik"])


def test_a_text_under_an_unknown_key_is_named_by_a_flag(tmp_path):
    tasks = [{"id": 1, "data": {"quote": "fine", "by": "Ann"}, "annotations": [chosen("pos")]}]
    with pytest.raises(DataError, match=r'which column is the text\? Its columns are: "sentiment", "quote", "by"'):
        opened(tmp_path, tasks)
    assert pairs(opened(tmp_path, tasks, columns=["text=quote"])) == [("fine", "pos")]


def test_a_column_of_the_data_does_not_stand_in_for_an_annotation_of_its_name(tmp_path):
    tasks = [task(1, "a", chosen("pos"), sentiment="old"), task(2, "b", sentiment="old")]
    found = opened(tmp_path, tasks)
    assert (pairs(found), found.row_errors.filtered_summary()) == ([("a", "pos")], "1 not labelled")


@pytest.mark.parametrize(
    ("tasks", "fields", "told"),
    [
        ([task(1, "Ann", marked((0, 3, "Ann", "PER")))], LABELS, 'labels of "label", where choices are wanted'),
        ([task(1, "Ann", chosen("pos"))], TAGS, r'choices of "sentiment", where labels are wanted \(spans of'),
        ([minimal(1, "Ann", label=[{"start": 0, "end": 3, "labels": ["P"]}])], LABELS, "where choices are wanted"),
        ([minimal(1, "Ann", sentiment={"choices": ["a", "b"]})], TAGS, "where labels are wanted"),
        ([minimal(1, "Ann", sentiment="pos")], TAGS, "has no labels in any task: name the export of another project"),
        (
            [task(1, "a"), task(2, "b", chosen("x", was_cancelled=True))],
            LABELS,
            "holds 2 tasks, none of them annotated",
        ),
        ([{"id": 1, "data": {"text": "a"}}], TAGS, "holds 1 task, none of them annotated: annotate some"),
    ],
)
def test_an_export_without_the_wanted_annotations_is_refused(tmp_path, tasks, fields, told):
    with pytest.raises(DataError, match=rf"^export\.json .*{told}.*\.$"):
        opened(tmp_path, tasks, fields)


def test_a_damaged_export_is_refused_with_its_line(tmp_path):
    whole = json.dumps([task(1, "fine", chosen("pos"))] * 30, indent=1)
    with pytest.raises(DataError, match=r"^export\.json:\d+ is no JSON .*: mend the file, or write it again\.$"):
        opened(tmp_path, whole[:-200])


def test_spans_of_tasks_are_entities(tmp_path):
    tasks = [
        task(1, "Ann Lee in Rome", marked((0, 7, "Ann Lee", "PER"), (11, 15, "Rome", "LOC"))),
        task(2, "Nobody came", marked()),
        task(3, "Not looked at"),
        task(4, "Ann", marked((0, 9, "Ann", "PER"))),
    ]
    found = opened(tmp_path, tasks, TAGS)
    assert next(iter(found.rows())) == (
        "export.json: task 1",
        {
            "text": "Ann Lee in Rome",
            "tokens": ["Ann", "Lee", "in", "Rome"],
            "tags": ["B-PER", "I-PER", "O", "B-LOC"],
            "entities": [[0, 7, "PER"], [11, 15, "LOC"]],
        },
    )
    found.row_errors.clear()
    assert entities(found)[1:] == [("Nobody came", [])]
    assert found.row_errors.first_errors() == [
        "export.json: task 4 has the entity [0, 9], but its text has 3 characters"
    ]
    assert found.row_errors.filtered_summary() == "1 not labelled"
    assert found.description == 'export.json: Label Studio, tokens = "text", tags = labels of "label"'


def test_types_are_renamed(tmp_path):
    found = opened(tmp_path, [task(1, "Ann", marked((0, 3, "Ann", "person")))], TAGS, names={"person": "PER"})
    assert entities(found) == [("Ann", [[0, 3, "PER"]])]


def test_rows_of_json_min(tmp_path):
    rows = [
        minimal(5, "fine", sentiment="pos"),
        minimal(6, "dull", sentiment="pos", updated="2024-05-03T00:00:00Z"),
        minimal(6, "dull", sentiment="neg", annotation=2),
        minimal(7, "both", sentiment={"choices": ["pos", "neg"]}),
        minimal(8, "none"),
    ]
    found = opened(tmp_path, rows)
    assert list(found.rows()) == [
        ("export.json: task 5", {"text": "fine", "label": "pos"}),
        ("export.json: task 6", {"text": "dull", "label": "pos"}),
    ]
    assert found.row_errors.first_errors() == [
        'export.json: task 7 "sentiment" holds 2 labels ("pos", "neg"), where one is wanted'
    ]
    assert found.row_errors.filtered_summary() == "1 not labelled"
    assert "people disagree on 1 task," in found.description
    # What tells of the annotation is no column, so that a label of any name is the one that is left.
    assert pairs(opened(tmp_path, [minimal(1, "fine", verdict="pos")])) == [("fine", "pos")]


def test_a_row_of_json_min_without_spans_has_no_entities(tmp_path):
    spans = [{"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}]
    found = opened(tmp_path, [minimal(1, "Ann", label=spans), minimal(2, "nobody")], TAGS)
    assert entities(found) == [("Ann", [[0, 3, "PER"]]), ("nobody", [])]


def test_texts_alone_are_those_of_all_tasks_once(tmp_path):
    tasks = [task(1, "a", chosen("pos"), chosen("neg")), task(2, "b"), {"data": {"text": "c"}, "annotations": []}]
    assert [one for _, one in opened(tmp_path, tasks, LABELS[:1]).rows()] == [{"text": one} for one in "abc"]
    rows = [minimal(1, "a", sentiment="pos"), minimal(1, "a", sentiment="neg"), minimal(2, "b")]
    assert [one for _, one in opened(tmp_path, rows, LABELS[:1]).rows()] == [{"text": "a"}, {"text": "b"}]
    bare = [{"data": {"text": "a"}}, {"data": {"text": "b"}}]  # as tasks are imported
    assert [one for _, one in opened(tmp_path, bare, LABELS[:1]).rows()] == [{"text": "a"}, {"text": "b"}]


DOCCANO_LABELS = [{"id": 1, "text": "fine", "label": ["pos"]}, {"id": 2, "text": "new", "label": []}]
DOCCANO_SPANS = [
    {"id": 1, "text": "😀 Ann", "label": [[2, 5, "PER"]]},
    {"id": 2, "text": "nobody", "label": []},
]
DOCCANO_RELATIONS = [
    {
        "id": 1,
        "text": "😀 Ann",
        "entities": [{"id": 8, "label": "PER", "start_offset": 2, "end_offset": 5}],
        "relations": [],
        "Comments": [],
    },
    {"id": 2, "text": "nobody", "entities": [], "relations": [], "Comments": []},
]


@pytest.mark.parametrize("as_lines", [True, False])
def test_doccano_is_read_as_lines_and_as_an_array(tmp_path, as_lines):
    def written(rows):
        return "".join(json.dumps(row) + "\n" for row in rows) if as_lines else rows

    found = opened(tmp_path, written(DOCCANO_LABELS))
    assert (pairs(found), found.row_errors.filtered_summary()) == ([("fine", "pos")], "1 not labelled")
    for rows in (DOCCANO_SPANS, DOCCANO_RELATIONS):
        assert entities(opened(tmp_path, written(rows), TAGS)) == [("😀 Ann", [[2, 5, "PER"]]), ("nobody", [])]


def test_exports_are_sources_like_other_files(tmp_path):
    (tmp_path / "names.tsv").write_text("Positive\tpos\n")
    for number in (1, 2):
        content = json.dumps([task(number, f"t{number}", chosen("Positive")), task(number + 2, "u")])
        (tmp_path / f"{number}.json").write_text(content)
    source = open_table_source(f"{tmp_path}/?.json", LABELS, RunConfig(label_names=str(tmp_path / "names.tsv")))
    for _ in range(2):
        assert list(source.splits[""]) == [{"text": "t1", "label": "pos"}, {"text": "t2", "label": "pos"}]
        assert source.splits[""].row_errors.filtered_summary() == "2 not labelled"


@pytest.mark.parametrize(
    ("recipe", "annotations"),
    [("sentiment", [chosen("pos"), chosen("neg")]), ("ner", [marked((0, 1, "t", "PER")), marked()])],
)
def test_the_report_tells_how_many_tasks_are_left_out(tmp_path, recipe, annotations):
    tasks = [task(number, f"t {number}", annotations[number % 2]) for number in range(40)]
    (tmp_path / "export.json").write_text(json.dumps([*tasks, task(50, "u"), task(51, "v")]))
    report = json.loads(good("check", recipe, "--data", tmp_path / "export.json", "--json"))
    assert [part.get("left_out") for part in report["parts"].values()] == [{"not labelled": 2}, None, None]
    assert sum(part["examples"] for part in report["parts"].values()) == 40
    assert report["data"][0].startswith("export.json: Label Studio, ")
    printed = good("check", recipe, "--data", tmp_path / "export.json")
    assert "left out" in printed and "not labelled" in printed


def test_places_in_utf16_units_are_known_by_the_text_beside_them():
    span = {"start": 6, "end": 11, "text": "A😀e\u0301", "labels": ["X"]}
    assert span_in_characters("😀😀  A😀e\u0301", span) == {**span, "start": 4, "end": 8}
    assert span_in_characters("😀😀  A😀e\u0301", {**span, "start": 4, "end": 8}) == {**span, "start": 4, "end": 8}
    # Where neither fits, as for line ends that the tool writes in its own way, the places stay.
    assert span_in_characters("a\nb", {**span, "start": 0, "end": 3, "text": "a\\nb"})["end"] == 3


WORD = st.text("ab\u0301é😀👩\u200d🇩東", min_size=1, max_size=4).map(lambda letters: f"w{letters}")


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.tuples(WORD, st.sampled_from(["", "PER", "LOC"])), min_size=1, max_size=6), data=st.data())
def test_spans_mean_the_same_characters_in_every_export(tmp_path_factory, words, data):
    folder = tmp_path_factory.mktemp("spans")
    text, spans = "", []
    for word, label in words:
        text += data.draw(st.sampled_from([" ", "  ", "😀 ", "e\u0301 "]))
        if label:
            spans.append((len(text), len(text) + len(word), word, label))
        text += word
    expected = [(text, [[start, end, label] for start, end, _, label in spans])]
    units = [
        (len(text[:start].encode("utf-16-le")) // 2, len(text[:end].encode("utf-16-le")) // 2, word, label)
        for start, end, word, label in spans
    ]
    # Where each text between two places is another one, old exports can be told from new ones.
    fits = any(text[start:end] == word for start, end, word, _ in units)
    for places in (spans, units) if not fits else (spans,):
        rows = [{"start": start, "end": end, "text": word, "labels": [label]} for start, end, word, label in places]
        other = task(2, "wAnn", marked((0, 4, "wAnn", "PER")))
        assert entities(opened(folder, [task(1, text, marked(*places)), other], TAGS))[:1] == expected
        more = {"label": rows} if rows else {}
        after = minimal(2, "wAnn", label=[{"start": 0, "end": 4, "text": "wAnn", "labels": ["PER"]}])
        assert entities(opened(folder, [minimal(1, text, **more), after], TAGS))[:1] == expected
    lines = [{"text": text, "label": [[start, end, label] for start, end, _, label in spans]}]
    assert entities(opened(folder, lines, TAGS)) == expected


CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.text(CHARS, max_size=20), st.text(CHARS, min_size=1).filter(str.strip)), min_size=1))
def test_labels_are_the_same_in_every_export(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("labels")
    expected = [(text, label.strip()) for text, label in rows]
    tasks = [task(number, text, chosen(label)) for number, (text, label) in enumerate(rows)]
    assert pairs(opened(folder, tasks)) == expected
    assert pairs(opened(folder, json.dumps(tasks, ensure_ascii=False))) == expected
    flat = [minimal(number, text, sentiment=label) for number, (text, label) in enumerate(rows)]
    assert pairs(opened(folder, flat)) == expected
    assert pairs(opened(folder, [{"id": 3, "text": text, "label": [label]} for text, label in rows])) == expected
