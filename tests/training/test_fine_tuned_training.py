"""Fine-tuning by the training loop, for each recipe: what a model has of the run that it begins with."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from common import discovery
from common.config import OWN_SHARE
from common.data import encoding
from common.data.example_store import StoreWriter
from common.data.readers.image_bytes import encode_png
from common.errors import ConfigError
from common.inference.served_model import serve_model
from common.modeling.metrics import ratio_metric
from common.music import frame_tokens
from common.reports import compare
from common.runtime.tensorflow_setup import set_seed
from common.training.base_run import BaseRun
from common.training.phases import group_layers
from common.training.trainer import Trainer
from common.training.transfer import WeightTransferPlan, make_base_recipe
from common.training.weights import get_model_weights
from common.types import ExampleSource
from recipes.music.recipe import octave_offset
from tests.helpers.trainers import SMALL_OF, assert_same_weights, made_up, trained

OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in SMALL_OF if name != "sentiment"]
EACH = pytest.mark.parametrize("name", ["sentiment", *OTHERS])


def built(name, examples, base_run=None, own=None, **more):
    """A trainer on some examples, fine-tuned from a base run or not; those after the first `own` are replayed."""
    config = discovery.load_recipe_config(name).Config(**{"epochs": 2, **SMALL_OF[name], **more})
    keras.backend.clear_session()
    set_seed(config.seed)
    recipe_class, source = discovery.load_recipe(name), ExampleSource("made up", lambda: iter(examples))
    assets = (
        recipe_class.extend_assets(config, source, base_run.assets)
        if base_run
        else recipe_class.build_assets(config, source)
    )
    if own is not None:
        assets = {**assets, OWN_SHARE: own / len(examples)}
    config = recipe_class.resolve_defaults(config, assets)
    recipe = recipe_class(config, assets)

    def encode(batch):
        inputs = {f"feature/{key}": value for key, value in recipe.encode(batch).items()}
        return inputs | {f"target/{key}": value for key, value in recipe.encode_targets(batch).items()}

    encoder = encoding.CompiledEncoder(encode, [field.name for field in recipe.fields])
    store = encoding.encode_to_store(examples, encoder, StoreWriter())
    plan = (
        WeightTransferPlan(base_run, make_base_recipe(base_run, recipe_class).get_weight_axes()) if base_run else None
    )
    return Trainer(recipe, config, store, store, tf.distribute.get_strategy(), transfer_plan=plan)


def as_base_run(trainer, name="runs/base"):
    return BaseRun(name, get_model_weights(trainer.model), None, trainer.config, trainer.recipe.assets)


def other_examples(name):
    """Examples with words that `made_up` lacks."""
    examples = made_up(name, 80)[30:]
    for example in examples:
        if isinstance(example.get("text"), str):
            example["text"] += " zebra"
        if "tokens" in example:
            example["tokens"], example["tags"] = [*example["tokens"], "zebra"], [*example["tags"], "O"]
    return examples


def answers(trainer, examples):
    """What the model makes of each example, in numbers."""
    served = serve_model(trainer.recipe, trainer.model, trainer.config)
    if "likelihood" in served.calls:
        found = served.predict(examples, lambda _, outputs: outputs["log_prob"], "likelihood")
        return np.array(found)
    if trainer.recipe.monitor == "loss":
        return served.per_example_metric(examples).components
    return np.array(served.predict(examples, lambda _, outputs: outputs["scores"]))


@EACH
def test_every_weight_is_in_a_part_of_the_network(name):
    trainer = built(name, made_up(name, 40))
    found = group_layers(trainer.model, trainer.recipe.layer_groups)
    assert len(found) > 1
    layers = [layer.name for layers in found.values() for layer in layers]
    assert len(layers) == len(set(layers))
    named = {path.split("/")[0] for path in get_model_weights(trainer.model)}
    assert {path for path in named if not any(path.startswith(layer) for layer in layers)} == set()


COUNTED = ("wide_words/word_rows", "wide_words/pair_rows")


@EACH
def test_a_model_on_the_same_data_is_the_base_run_before_it_learns(name):
    examples = made_up(name, 40)
    base = built(name, examples)
    trained(base)
    tuned = built(name, examples, as_base_run(base))
    before, after = (_without_counted(trainer) for trainer in (base, tuned))
    assert before
    assert_same_weights(before, after)
    assert sum(tuned_report(tuned)["initialized"].values()) == 0


def _without_counted(trainer):
    """Weights but for rows that are counted from the new data, too."""
    return {path: value for path, value in get_model_weights(trainer.model).items() if path not in COUNTED}


@pytest.mark.parametrize("replayed", [0, 40])
def test_what_is_known_of_a_word_gives_way_to_what_the_new_texts_count(replayed):
    """A word of as many texts as the base run's row is worth is half its row and half naive Bayes of new ones."""
    base = built("sentiment", made_up("sentiment", 40))
    trained(base)
    base_run = as_base_run(base)
    # "film" is in one of these texts, and the base run knows it.
    examples = [{"text": "zebra film", "label": "bad"}, {"text": "zebra zebra", "label": "good"}]
    known = base.recipe.assets
    assert set(known["labels"]) == {"bad", "good"} and "film" in known["words"]
    tuned = built("sentiment", examples + made_up("sentiment", replayed), base_run, own=2, min_count=1)
    scratch = built("sentiment", examples, min_count=1)
    at, alone = (
        trainer.recipe.vocabulary.first + trainer.recipe.assets["words"].index("film") for trainer in (tuned, scratch)
    )
    place = base.recipe.vocabulary.first + known["words"].index("film")
    counted = get_model_weights(scratch.model)["wide_words/word_rows"][alone]
    old = get_model_weights(base.model)["wide_words/word_rows"][place]
    assert counted.any() and old.any()
    np.testing.assert_allclose(
        get_model_weights(tuned.model)["wide_words/word_rows"][at], (counted + old) / 2, rtol=1e-5, atol=1e-7
    )


def tuned_report(trainer):
    return trainer.transfer_plan.report.sizes_by_outcome()


@pytest.mark.parametrize(
    ("new", "octaves"),
    [((48, 93), 1), ((36, 81), 0), ((60, 84), 0), ((30, 86), 0), ((24, 60), -1), ((84, 105), 2), ((0, 127), 0)],
)
def test_pieces_are_lowered_by_octaves_only_where_they_leave_the_base_runs_range(new, octaves):
    assert octave_offset((36, 81), new) == octaves


def test_music_an_octave_higher_begins_with_the_weights_of_the_notes_below():
    examples = made_up("music", 40)
    base = built("music", examples)
    trained(base)
    higher = [{**piece, "events": piece["events"] + np.array([0, 0, 12], np.int32)} for piece in examples]
    tuned = built("music", higher, as_base_run(base))
    old_weights, new_weights = (get_model_weights(trainer.model) for trainer in (base, tuned))
    note = frame_tokens.STRUCK  # of pitch 0
    for path in ("frames_before/all", "slots/table", "slots/bias"):
        np.testing.assert_array_equal(old_weights[path][:note], new_weights[path][:note])
        np.testing.assert_array_equal(old_weights[path][note : note + 116], new_weights[path][note + 12 : note + 128])
    told = "Pieces stand 1 octave higher than those that the weights come from: each note begins with the weights of"
    assert f"{told} the one 1 octave lower." in tuned.recipe.data_warnings()
    assert not any("octave" in doubt for doubt in base.recipe.data_warnings())
    # What is fine-tuned next finds the same weights under their own notes again.
    next_one = built("music", higher, as_base_run(tuned))
    assert_same_weights(new_weights, get_model_weights(next_one.model))


def test_patience_counts_from_where_all_parts_learn():
    base = built("sentiment", made_up("sentiment", 60))
    settings = {"epochs": 10, "patience": 1, "learning_rate": 1e-12, "batch_size": 15}
    at_once = built("sentiment", made_up("sentiment", 60), as_base_run(base), **settings)
    assert len(trained(at_once)) == 2  # the first is the best, then one in vain
    by_parts = built("sentiment", made_up("sentiment", 60), as_base_run(base), gradual_unfreeze_ratio=0.6, **settings)
    assert len(trained(by_parts)) == 7


def test_few_examples_that_are_all_alike_tell_nothing():
    def verdicts(count):
        right, wrong = (ratio_metric("accuracy", [(hit, 1)] * count) for hit in (1, 0))
        return compare.format_conclusions(
            compare.compare_metrics({"new": right}, {}, {"new": wrong.components}, "test")
        )

    assert verdicts(3) == ["3 examples do not tell whether fine-tuned is better than training from scratch."]
    assert verdicts(30) == ["Fine-tuned is better than training from scratch."]
    known = {"split": "test", "examples": 6, "metric": "accuracy", "ci95": (1.0, 1.0, 1.0)}
    assert (
        "6 examples, by which little is known of accuracy on others. --cv-folds"
        in compare.format_small_sample_warning(known)
    )
    assert "is known to lie between 0.5000 and 1.0000" in compare.format_small_sample_warning(
        {**known, "ci95": (0.8, 0.5, 1.0)}
    )


def test_what_new_images_are_like_is_not_told_by_those_that_are_seen_again():
    recipe, config = (
        discovery.load_recipe("image_classification"),
        discovery.load_recipe_config("image_classification").Config(),
    )
    old, new = images_of(32, 32, grey=False), images_of(48, 40, grey=True)
    known = recipe.build_assets(config, old)
    both = dataclasses.replace(ExampleSource("both", lambda: iter((*new, *old, *old))), without_replay=new)
    found = recipe.extend_assets(config, both, known)
    alone = recipe.extend_assets(config, new, known)
    assert all(
        found[name] == alone[name] for name in ("size", "images_grayscale", "grayscale", "num_stem_downsamplings")
    )
    assert sum(found["label_counts"]) > sum(alone["label_counts"])


def test_translations_into_another_language_are_warned_of():
    recipe, config = (
        discovery.load_recipe("translation"),
        discovery.load_recipe_config("translation").Config(vocabulary_size=300),
    )
    pairs = [{"text": "the old house and the dog", "target": "das alte Haus und der Hund"}] * 4
    learned = recipe.build_assets(config, ExampleSource("made up", lambda: iter(pairs)))
    words = ["das", "alte", "Haus", "und", "der", "Hund", "the", "old", "house", "and", "dog"]
    words += [f"w{number}" for number in range(1000)]
    known = {**learned, **{name: [*learned[name][:256], *words] for name in ("pieces", "source_pieces")}}

    def doubts(target):
        examples = [{**pair, "target": target} for pair in pairs]
        found = recipe.extend_assets(config, ExampleSource("made up", lambda: iter(examples)), known)
        return recipe(config, found).data_warnings()

    assert doubts("der alte Hund und das neue Haus") == []
    assert doubts("漢字かな") == []  # without blanks, where words are not to be found
    (told,) = doubts("la vieille maison et le chien")
    assert told.startswith("Only 0% of the most frequent words of target are known to the run that --init-from names")


# A linear part beside the LSTM has features of its own for words that are known, so that the LSTM alone is compared.
LSTM_ALONE = {"sentiment": "lstm_logits", "ner": "lstm_emissions"}


@EACH
def test_new_words_begin_as_unknown_ones(name):
    """So on the base run's examples, and on those with new words, the network says what that of the base run says."""
    base = built(name, made_up(name, 40))
    trained(base)
    examples = other_examples(name)
    tuned = built(name, examples, as_base_run(base))
    if name in LSTM_ALONE:
        first, second = (
            trainer.model(trainer.train_step.get_inputs(_rows(trainer, examples)), training=False)[
                LSTM_ALONE[name]
            ].numpy()
            for trainer in (base, tuned)
        )
        np.testing.assert_allclose(first, second, atol=1e-5)
        return
    np.testing.assert_allclose(answers(base, examples), answers(tuned, examples), atol=1e-4)


def _rows(trainer, examples):
    """Model inputs of examples, as a store holds them."""
    fields = [field.name for field in trainer.recipe.fields if field.kind not in ("label", "tags")]
    batch = encoding.stack_examples([{name: example[name] for name in fields} for example in examples])
    return {f"feature/{key}": value for key, value in encoding.pad_ragged(trainer.recipe.encode(batch)).items()}


@EACH
def test_a_fine_tuned_training_goes_on_as_if_it_had_not_stopped(name):
    more = {"l2_sp": 2.0, "gradual_unfreeze_ratio": 0.4, "layerwise_lr_decay": 0.5, "new_layers_first_ratio": 0.2}
    base = built(name, made_up(name, 40))
    base_run = as_base_run(base)
    whole = built(name, other_examples(name), base_run, **more)
    trained(whole)
    cut = built(name, other_examples(name), base_run, **more)
    cut._count_steps = lambda: 1
    for number, _ in enumerate(cut.fit(), 1):
        if number == 3:
            break
    arrays, numbers = cut.state_dict()
    resumed = built(name, other_examples(name), base_run, **more)
    resumed.load_state_dict(arrays, numbers)
    trained(resumed)
    assert_same_weights(whole.get_weights(), resumed.get_weights())


def images_of(height, width, grey):
    shape = (height, width) if grey else (height, width, 3)
    shades = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    return ExampleSource(
        "made up", lambda: iter({"image_bytes": encode_png(shades), "label": label} for label in "ab" * 3)
    )


def test_images_are_brought_to_what_the_base_run_can_see():
    recipe, config = (
        discovery.load_recipe("image_classification"),
        discovery.load_recipe_config("image_classification").Config(),
    )
    known = recipe.build_assets(config, images_of(32, 32, grey=False))
    found = recipe.extend_assets(config, images_of(96, 128, grey=True), known)
    assert (found["size"], found["num_stem_downsamplings"], found["grayscale"]) == ([48, 64], 0, False)
    assert recipe(config, found).data_warnings() == []
    # Which images may be mirrored is a matter of the images, not of what the source saw.
    assert not recipe(config, found).flip
    assert recipe(config, recipe.extend_assets(config, images_of(32, 32, grey=False), known)).flip
    # A base run of larger images halves them first, and so does what begins with it, however small its images are.
    large = recipe.build_assets(config, images_of(100, 100, grey=True))
    small = recipe.extend_assets(config, images_of(32, 32, grey=False), large)
    assert (small["size"], small["num_stem_downsamplings"], small["grayscale"]) == ([32, 32], 2, True)
    assert "saw gray only" in recipe(config, small).data_warnings()[0]
    assert recipe.extend_assets(config, images_of(32, 32, grey=False), small)["num_stem_downsamplings"] == 2
    with pytest.raises(ConfigError, match="--color-mode is rgb, but the run that --init-from names has grayscale"):
        recipe.extend_assets(dataclasses.replace(config, color_mode="rgb"), images_of(32, 32, grey=False), large)
