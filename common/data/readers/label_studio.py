"""What people annotated in Label Studio: its exports "JSON" and "JSON-MIN" as rows.

Those of doccano are rows as they are, see jsonl.py and tagged.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from common.data.readers.columns import match_columns
from common.data.readers.jsonl import NOT_LABELLED, JsonLinesReader, Rows, iter_json_objects
from common.data.readers.raw_sentence import RawSentence, make_sentence
from common.data.readers.tagged import TaggedReader, open_tagged, tag_field_names
from common.errors import DataError
from common.row_errors import RowErrors
from common.runtime.open_file import read_head
from common.types import Field, JsonObject

CHOICES, SPANS, PLAIN = "choices", "labels", ""  # kinds of results, as Label Studio names them; a value by itself
WANTED = {"label": CHOICES, "tags": SPANS}  # by the kind of a field
ABOUT_ROWS = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}  # keys of JSON-MIN

# Labels, spans or a value, by the name of what was annotated and its kind.
Annotation = Mapping[tuple[str, str], object]


class LabelStudioTask(NamedTuple):
    """A task of an export.

    Args:
      location: such as "export.json: task 17", by the number that people see.
      wrong: why it cannot be used, or "".
      data: by column.
      annotations: of one person each, without cancelled ones; the last one is to be taken.
    """

    location: str
    wrong: str
    data: Mapping[str, object]
    annotations: Sequence[Annotation]


@dataclass
class _ExportStats:
    """What an export holds.

    Args:
      columns: of the data, in order.
      given: how many tasks have a result of a name and kind.
      disagreeing: how many tasks people annotated differently under a name.
    """

    tasks: int = 0
    columns: dict[str, None] = field(default_factory=dict)
    given: Counter[tuple[str, str]] = field(default_factory=Counter)
    disagreeing: Counter[str] = field(default_factory=Counter)

    def add(self, task: LabelStudioTask) -> None:
        self.tasks += 1
        self.columns |= dict.fromkeys(task.data)
        keys = dict.fromkeys(key for annotation in task.annotations for key in annotation)
        self.given.update(list(keys))
        for name in {name for name, _ in keys}:
            self.disagreeing[name] += len({_make_comparable(annotation, name) for annotation in task.annotations}) > 1

    def named(self, *kinds: str) -> list[str]:
        """Return what was annotated in one of these ways."""
        return [name for name, kind in self.given if kind in kinds]


def is_label_studio_export(path: Path, encoding: str) -> bool:
    """Return whether the first object of a JSON file is a task, or a row of JSON-MIN.

    Raises:
      DataError: the file is damaged.
    """
    first = next((value for _, value, _ in iter_json_objects(path, encoding)), {})
    is_task = isinstance(first.get("data"), dict) and (
        "annotations" in first or "predictions" in first or set(first) <= {"data", "id"}
    )
    return is_task or {"id", "annotation_id"} <= set(first)


def open_labeled_tasks(
    path: Path, fields: tuple[Field, ...], columns: Mapping[str, str], encoding: str | None, row_errors: RowErrors
) -> JsonLinesReader:
    """Open the texts of an export with their labels, or alone where the fields have no label.

    Args: as those of `tables.table`; a column is one of the tasks' data, or the name of what was annotated.

    Raises:
      ConfigError: `columns` or `encoding` name what there is not.
      DataError: the file is damaged, holds no annotation of the wanted kind, or it is not clear which is meant.
    """
    encoding, _ = read_head(path, encoding)
    stats = _collect_stats(path, encoding)
    wanted = next((field for field in fields if field.kind in WANTED), None)
    kind = WANTED[wanted.kind] if wanted else None
    names = stats.named(kind) if kind else []
    if wanted and wanted.name not in columns:
        columns = {**columns, **_choose_annotation(path, stats, wanted)}
    plain = [name for name in stats.named(PLAIN) if name not in names]
    keys = [*names, *(name for name in stats.columns if name not in names), *plain]
    indices = match_columns(path.name, keys, keys, fields, columns, advice="name another export")
    by_field = {name: keys[index] for name, index in indices.items()}
    target = by_field[wanted.name] if wanted else ""

    def read() -> Rows:
        for task in _read_tasks(path, encoding):
            row = {name: value for name, value in task.data.items() if name not in names}
            for (name, of), value in (task.annotations[-1] if task.annotations else {}).items():
                if of in (PLAIN, kind):
                    row[name] = value
            if kind == CHOICES or (kind == SPANS and task.annotations):  # a text without spans is annotated, too
                row.setdefault(target, [])
            yield task.location, row, task.wrong

    taken = {name: f'"{key}"' for name, key in by_field.items()}
    if target in names and wanted:
        taken[wanted.name] = f'{kind} of "{target}"'
    return JsonLinesReader(_describe_export(path, taken, stats.disagreeing[target]), read, by_field, fields, row_errors)


def _describe_export(path: Path, taken: Mapping[str, str], disagreeing: int) -> str:
    """How an export was understood, for people.

    Args:
      taken: by field what holds it.
      disagreeing: tasks that people annotated differently.
    """
    note = f"{path.name}: Label Studio, {', '.join(f'{name} = {column}' for name, column in taken.items())}"
    if disagreeing:
        tasks = f"{disagreeing:,} {'task' if disagreeing == 1 else 'tasks'}"
        note += f"; people disagree on {tasks}, of which the ground truth or else the latest annotation is taken"
    return note


def open_span_tasks(
    path: Path,
    fields: tuple[Field, ...],
    columns: Mapping[str, str],
    encoding: str | None,
    names: Mapping[str, str],
    row_errors: RowErrors,
) -> TaggedReader:
    """Open the texts of an export with the spans that were labelled in them.

    Args: as those of `open_labeled_tasks` and `tagged.tagged`.
    """
    texts = open_labeled_tasks(path, fields, columns, encoding, row_errors)
    text_key, spans_key = (texts.keys[name] for name in tag_field_names(fields))

    def read() -> Iterator[RawSentence]:
        for location, row, wrong in texts.read():
            text, spans = row.get(text_key), row.get(spans_key)
            if isinstance(text, str) and isinstance(spans, list):
                spans = [span_in_characters(text, span) for span in spans]
            if spans is None and not wrong:
                yield RawSentence(location, left_out=NOT_LABELLED)
            else:
                yield make_sentence(location, text, spans, wrong)

    return open_tagged(path.name, texts.description, read, names, row_errors)


def span_in_characters(text: str, span: object) -> object:
    """Return a span of Label Studio whose places count characters.

    It counts code points, as Python does. Its old versions counted UTF-16 units, as JavaScript does, of which an emoji
    has two; by the text that it writes beside the places the two are told apart.

    >>> span_in_characters("😀 Ann", {"start": 3, "end": 6, "text": "Ann", "labels": ["PER"]})
    {'start': 2, 'end': 5, 'text': 'Ann', 'labels': ['PER']}
    """
    if not isinstance(span, dict):
        return span
    start, end, written = (span.get(key) for key in ("start", "end", "text"))
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(written, str)) or text[start:end] == written:
        return span
    units = text.encode("utf-16-le", "surrogatepass")
    before, within = (units[2 * a : 2 * b].decode("utf-16-le", "replace") for a, b in ((0, start), (start, end)))
    return (
        span | {"start": len(before), "end": len(before) + len(written)} if within == written and start >= 0 else span
    )


def _collect_stats(path: Path, encoding: str) -> _ExportStats:
    stats = _ExportStats()
    for task in _read_tasks(path, encoding):
        stats.add(task)
    return stats


def _choose_annotation(path: Path, stats: _ExportStats, wanted: Field) -> dict[str, str]:
    """What was annotated for a field, by the field's name; nothing where the columns of JSON-MIN may tell.

    Raises:
      DataError: there is nothing of its kind, or several.
    """
    kind = WANTED[wanted.kind]
    names, others = stats.named(kind), stats.named(*{kind for _, kind in stats.given} - {kind, PLAIN})
    if len(names) == 1:
        return {wanted.name: names[0]}
    if names:
        listed = " and ".join(f'"{name}"' for name in names)
        raise DataError(f"{path.name} has {kind} of {listed}: say which by --column {wanted.name}={names[0]}.")
    plain = [name.casefold() for name in stats.named(PLAIN)]
    if kind == CHOICES and plain and (not others or {wanted.name, *wanted.aliases} & {*plain}):
        return {}
    if others:
        kinds = " and ".join(f'{of} of "{name}"' for name, of in stats.given if of not in (kind, PLAIN))
        task = "a label for each text" if kind == CHOICES else "spans of characters"
        remedy = "name the export of another project"
        raise DataError(f"{path.name} has {kinds}, where {kind} are wanted ({task}): {remedy}.")
    if plain:
        raise DataError(f"{path.name} has no {kind} in any task: name the export of another project.")
    tasks = f"{stats.tasks:,} {'task' if stats.tasks == 1 else 'tasks'}"
    raise DataError(f"{path.name} holds {tasks}, none of them annotated: annotate some, and export it again.")


def _read_tasks(path: Path, encoding: str) -> Iterator[LabelStudioTask]:
    """The tasks of an export; rows of JSON-MIN that follow each other are one task if they have one number."""

    def number(row: tuple[str, JsonObject, str]) -> object:
        location, value, _ = row
        return value["id"] if "annotation_id" in value and "id" in value else location

    for _, group in groupby(iter_json_objects(path, encoding), number):
        rows = list(group)
        location, value, wrong = rows[0]
        if isinstance(value.get("id"), int | str):
            location = f"{path.name}: task {value['id']}"
        if "annotation_id" in value:
            latest = sorted((row for _, row, _ in rows), key=_get_update_time)
            yield LabelStudioTask(location, wrong, {}, [_group_row(row) for row in latest])
            continue
        data = value.get("data")
        if not isinstance(data, dict):
            wrong, data = wrong or 'has no "data"', {}
        given = [annotation for annotation in _as_list(value.get("annotations")) if isinstance(annotation, dict)]
        valid = [annotation for annotation in given if not annotation.get("was_cancelled")]
        latest = sorted(
            valid, key=lambda annotation: (bool(annotation.get("ground_truth")), _get_update_time(annotation))
        )
        yield LabelStudioTask(
            location, wrong, data, [_group_results(_as_list(annotation.get("result"))) for annotation in latest]
        )


def _get_update_time(annotation: Mapping[str, object]) -> str:
    """When it was last changed; of equal ones, the last one listed stays the last."""
    return str(annotation.get("updated_at") or "")


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _group_results(results: list[object]) -> Annotation:
    """The labels and the spans among the results of an annotation; of other kinds that there are some."""
    groups: dict[tuple[str, str], list[object]] = {}
    for result in results:
        if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
            continue
        kind, value = str(result.get("type")), result["value"]
        group = groups.setdefault((str(result.get("from_name")), kind), [])
        group += _as_list(value.get(CHOICES)) if kind == CHOICES else [value]
    return groups


def _group_row(row: Mapping[str, object]) -> Annotation:
    """The same of a row of JSON-MIN, in which a single label and the task's data are values by themselves."""
    annotation: dict[tuple[str, str], object] = {}
    for name, value in row.items():
        if isinstance(value, dict) and isinstance(value.get(CHOICES), list):
            annotation[name, CHOICES] = value[CHOICES]
        elif isinstance(value, list) and value and all(isinstance(item, dict) and SPANS in item for item in value):
            annotation[name, SPANS] = value
        elif name not in ABOUT_ROWS:
            annotation[name, PLAIN] = value
    return annotation


def _make_comparable(annotation: Annotation, name: str) -> str:
    """What was annotated under a name, as a text that equal ones share in whatever order they were given."""
    keys = ("start", "end", SPANS)
    parts = []
    for (of, _), result in annotation.items():
        for item in (result if isinstance(result, list) else [result]) if of == name else ():
            parts.append(json.dumps([item.get(key) for key in keys] if isinstance(item, dict) else item))
    return json.dumps(sorted(parts))
