"""What `init` writes: a config with every setting, and the same examples in each format that a recipe takes."""

import io
import shutil
import tomllib
import zipfile

import polib
import pytest

from common import discovery
from common.commands.init import init_project, make_config_template
from common.config import get_config_fields, validate_config_values
from common.config_io import load_toml
from common.data.writers import to_gettext_files, to_tmx, to_zip
from tests.helpers.cli_calls import SMALL, call, fails, good


@pytest.fixture(scope="module", params=discovery.list_recipes())
def begun(request, tmp_path_factory):
    """(recipe, folder, config, flags that name each sample)."""
    folder = tmp_path_factory.mktemp("init") / "some data"
    return request.param, *init_project(request.param, folder)


# The samples


def test_every_sample_passes_check_without_a_broken_row(begun):
    name, _, _, sources = begun
    for words in sources:
        result = call("check", name, *words, "--strict")
        assert result.exit_code == 0, result.stderr


def read(name, words):
    """All examples of a sample, whatever their part, by what they are told apart by."""
    flags = dict(zip(words[::2], words[1::2], strict=True))
    config = discovery.load_recipe_config(name).Config(
        data=(flags["--data"],),
        column=tuple(flags[one] for one in ("--column",) if one in flags),
        label_names=flags.get("--label-names"),
    )
    given = discovery.load_recipe(name).load_data(config).items()
    assert [part for part, _ in given] == ["train", "valid", "test"]
    assert all(list(source) for _, source in given)
    return [example for _, source in given for example in source]


def content(name, example):
    """What all formats carry of an example, in a form that can be sorted."""
    if name == "ner":
        return " ".join(example["tokens"]), " ".join(example["tags"])
    if name == "music":
        return str(example["events"].tolist())
    return tuple(value for key, value in sorted(example.items()) if key in ("text", "label", "target", "image_bytes"))


def test_all_samples_of_a_recipe_hold_the_same_examples(begun):
    name, _, _, sources = begun
    carrying = [words for words in sources if not words[1].endswith("frames.json")]  # which tell no held notes
    first, *others = (sorted(content(name, one) for one in read(name, words)) for words in carrying)
    assert len(set(first)) == 10
    assert others
    for words, found in zip(carrying[1:], others, strict=True):
        assert found == first, words


def test_samples_have_balanced_labels(begun):
    name, _, _, sources = begun
    examples = read(name, sources[0])
    if "label" in examples[0]:
        labels = [example["label"] for example in examples]
        assert {labels.count(label) for label in labels} == {5}
    if "tags" in examples[0]:
        kinds = [tag[2:] for example in examples for tag in example["tags"] if tag.startswith("B-")]
        assert {kinds.count(kind) for kind in kinds} == {6}


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """The tunes of each sample by its name."""
    *_, sources = init_project("music", tmp_path_factory.mktemp("music"))
    return {words[1].rpartition("/")[2]: read("music", words) for words in sources}


def test_tunes_keep_key_and_bar_where_the_format_has_them(music):
    def facts(examples):
        return sorted((str(one["events"].tolist()), one["key"], one["bar"], one["steps"]) for one in examples)

    assert facts(music["scores"]) == facts(music["tunes.abc"]) == facts(music["events.json"])
    assert {one["bar"] for one in music["scores"]} == {16}
    assert {one["steps"] for one in music["scores"]} == {64}  # four bars


def test_frames_hold_what_sounds_on_each_step_of_the_tunes(music):
    def sounding(example):
        rows = example["events"].tolist()
        return [sorted(pitch for start, length, pitch in rows if start <= at < start + length) for at in range(64)]

    assert sorted(map(sounding, music["frames.json"])) == sorted(map(sounding, music["events.json"]))


def test_samples_are_the_same_bytes_whenever_they_are_made(begun, tmp_path):
    name, folder, _, _ = begun
    init_project(name, tmp_path)
    for path in (one for one in folder.rglob("*") if one.is_file()):
        if path.suffix != ".musicxml":  # which holds the day on which it was written
            assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path


@pytest.mark.slow
def test_a_small_run_goes_by_the_sample_and_its_config(tmp_path):
    _, config, (words, *_) = init_project("sentiment", tmp_path / "a")
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("# max_length = 800", "max_length = 30"), encoding="utf-8")
    run = tmp_path / "run"
    assert good("run", "sentiment", "--config", config, *words, *SMALL, "--run-dir", run).strip() == str(run)
    assert "max_length = 30" in good("run", "sentiment", "--resume", run, "--print-config")


# The config


def lines(config_class):
    """The lines of settings, as they are when they are turned on."""
    return [line[2:] for line in make_config_template(config_class).splitlines() if line.startswith("# ")]


@pytest.fixture(params=discovery.list_recipes())
def config_class(request):
    return discovery.load_recipe_config(request.param).Config


def test_config_as_written_changes_nothing(begun):
    name, _, config, _ = begun
    assert load_toml(discovery.load_recipe_config(name).Config, config) == {}


def test_config_names_every_setting_once_with_its_help(config_class):
    text = make_config_template(config_class)
    names = [line.partition(" =")[0] for line in lines(config_class)]
    assert sorted(names) == sorted(get_config_fields(config_class))
    for setting in get_config_fields(config_class).values():
        block = next(one for one in text.split("\n\n") if f"\n# {setting.name} = " in one)
        assert block.startswith(f"## {setting.metadata['help']}\n## (")
        for bound in ("low", "high", "above", "below"):
            limit = setting.metadata[bound]
            assert limit is None or f" {limit}" in block
        assert all(choice in block for choice in setting.metadata["choices"] or ())


def test_each_line_alone_is_the_default_where_there_is_one(config_class):
    default = config_class()
    for line in lines(config_class):
        values = validate_config_values(config_class, tomllib.loads(line), line)
        (name,) = values
        if getattr(default, name) is not None:
            assert config_class(**values) == default, line


def test_all_lines_together_are_the_defaults_where_there_are_some(config_class, tmp_path):
    path = tmp_path / "all.toml"
    path.write_text("\n".join(lines(config_class)), encoding="utf-8")
    found, default = load_toml(config_class, path), config_class()
    for name, value in vars(default).items():
        assert value is None or found[name] == value
    # An editor that takes one # from every line leaves a config, too.
    uncommented = "\n".join(
        line.removeprefix("#").removeprefix(" ") for line in make_config_template(config_class).splitlines()
    )
    assert validate_config_values(config_class, tomllib.loads(uncommented), "uncommented") == found


def test_settings_stand_in_the_groups_of_help(config_class):
    text = make_config_template(config_class)
    headings = [line.removeprefix("#### ") for line in text.splitlines() if line.startswith("#### ")]
    assert headings[:3] == ["Model", "Data", "Training"]
    blocks = text.split("#### ")[1:]
    for heading, block in zip(headings, blocks, strict=True):
        for name, setting in get_config_fields(config_class).items():
            assert (f"\n# {name} = " in block) == (setting.metadata["group"] == heading)


# The command


def test_init_writes_into_a_folder_named_by_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("init", "sentiment")
    assert result.exit_code == 0
    assert result.stdout == "sentiment-data\n"
    assert result.stderr.splitlines()[-2:] == [
        "  python cli.py check sentiment --data sentiment-data/reviews.csv",
        "  python cli.py run sentiment --config sentiment-data/sentiment.toml --data sentiment-data/reviews.csv",
    ]
    good("check", "sentiment", "--config", "sentiment-data/sentiment.toml", "--data", "sentiment-data/reviews.csv")


def test_init_overwrites_nothing_and_then_writes_nothing(tmp_path):
    (tmp_path / "reviews.tsv").write_text("mine")
    message = fails("init", "sentiment", tmp_path)
    assert message == f"{tmp_path / 'reviews.tsv'} is there already, and nothing is overwritten. Name another folder."
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.tsv"]
    assert (tmp_path / "reviews.tsv").read_text() == "mine"


def test_init_writes_beside_other_files(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    good("init", "sentiment", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "reviews.csv").exists()


def test_init_refuses_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert fails("init", "sentiment", tmp_path / "file") == f"{tmp_path / 'file'} is a file. Name a folder."


def test_init_of_an_unknown_recipe_names_those_that_there_are(tmp_path):
    assert 'Did you mean "sentiment"?' in fails("init", "sentimnet", tmp_path, status=2)


def test_a_recipe_of_ones_own_has_its_samples_or_the_config_alone(tmp_path):
    mine = tmp_path / "mine"
    good("copy", "sentiment", mine)
    folder, config, sources = init_project(str(mine), tmp_path / "a")
    assert config.name == "mine.toml"
    assert (folder / "reviews.csv").exists()
    assert len(sources) == 8
    shutil.copytree(mine, tmp_path / "other", ignore=shutil.ignore_patterns("samples.py", "__pycache__"))
    result = call("init", tmp_path / "other", tmp_path / "b")
    assert result.exit_code == 0
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["other.toml"]
    assert "examples" not in result.stderr


# Formats


def test_catalogues_and_memories_escape_what_their_formats_take_for_marks():
    pairs = [('a "quoted" <b>word</b>\nand & more\\', "ein „Wort“")]
    entry = polib.pofile(to_gettext_files("x", pairs, "de")["x.po"].decode())[0]
    assert (entry.msgid, entry.msgstr) == pairs[0]
    assert b"<seg>&lt;b&gt; &amp;</seg>" in to_tmx([("<b> &", "x")], "en", "de")


def test_a_zip_archive_has_no_time_of_its_own():
    with zipfile.ZipFile(io.BytesIO(to_zip({"a/b.txt": b"one"}))) as archive:
        assert archive.read("a/b.txt") == b"one"
        assert archive.infolist()[0].date_time[0] == 1980
