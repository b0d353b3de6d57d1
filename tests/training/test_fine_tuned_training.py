"""Fine-tuning by the training loop, for each recipe: what a model has of the run that it begins with."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from common import discovery
from common.commands import run
from common.config import OWN_SHARE
from common.data import encoding
from common.data.example_store import StoreWriter
from common.data.readers.image_bytes import png
from common.errors import ConfigError
from common.inference.served_model import of_model
from common.modeling.metrics import tally_of_shares
from common.music import frame_tokens
from common.reports import compare
from common.training.base_run import Origin
from common.training.phases import parts_of
from common.training.trainer import Trainer
from common.training.transfer import Inherited, recipe_of
from common.training.weights import model_weights
from common.types import Source
from recipes.music.recipe import octaves_above
from tests.helpers.trainers import SMALL_OF, assert_same_weights, made_up, trained

OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in SMALL_OF if name != "sentiment"]
EACH = pytest.mark.parametrize("name", ["sentiment", *OTHERS])


def built(name, examples, origin=None, own=None, **more):
    """A trainer on some examples, fine-tuned from an origin or not; those after the first `own` are replayed."""
    config = discovery.load_config(name).Config(**{"epochs": 2, **SMALL_OF[name], **more})
    keras.backend.clear_session()
    run.seed(config.seed)
    recipe_class, source = discovery.load(name), Source("made up", lambda: iter(examples))
    assets = recipe_class.relearn(config, source, origin.assets) if origin else recipe_class.learn(config, source)
    if own is not None:
        assets = {**assets, OWN_SHARE: own / len(examples)}
    config = recipe_class.settle(config, assets)
    recipe = recipe_class(config, assets)

    def encode(batch):
        inputs = {f"feature/{key}": value for key, value in recipe.encode(batch).items()}
        return inputs | {f"target/{key}": value for key, value in recipe.encode_target(batch).items()}

    encoder = encoding.Encoder(encode, [field.name for field in recipe.fields])
    store = encoding.encoded(examples, encoder, StoreWriter())
    given = Inherited(origin, recipe_of(origin, recipe_class).axes()) if origin else None
    return Trainer(recipe, config, store, store, tf.distribute.get_strategy(), inherited=given)


def origin_of(trainer, name="runs/source"):
    return Origin(name, model_weights(trainer.model), None, trainer.config, trainer.recipe.assets)


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
    served = of_model(trainer.recipe, trainer.model, trainer.config)
    if "likelihood" in served.calls:
        found = served.predictions(examples, lambda _, outputs: outputs["log_prob"], "likelihood")
        return np.array(found)
    if trainer.recipe.monitor == "loss":
        return served.tally(examples).parts
    return np.array(served.predictions(examples, lambda _, outputs: outputs["scores"]))


@EACH
def test_every_weight_is_in_a_part_of_the_network(name):
    trainer = built(name, made_up(name, 40))
    found = parts_of(trainer.model, trainer.recipe.parts)
    assert len(found) > 1
    layers = [layer.name for layers in found.values() for layer in layers]
    assert len(layers) == len(set(layers))
    named = {path.split("/")[0] for path in model_weights(trainer.model)}
    assert {path for path in named if not any(path.startswith(layer) for layer in layers)} == set()


COUNTED = ("wide_words/word_rows", "wide_words/pair_rows")


@EACH
def test_a_model_on_the_same_data_is_the_source_before_it_learns(name):
    examples = made_up(name, 40)
    source = built(name, examples)
    trained(source)
    tuned = built(name, examples, origin_of(source))
    before, after = (_without_counted(one) for one in (source, tuned))
    assert before
    assert_same_weights(before, after)
    assert sum(tuned_report(tuned)["fresh"].values()) == 0


def _without_counted(trainer):
    """Weights but for rows that are counted from the new data, too."""
    return {path: value for path, value in model_weights(trainer.model).items() if path not in COUNTED}


@pytest.mark.parametrize("replayed", [0, 40])
def test_what_is_known_of_a_word_gives_way_to_what_the_new_texts_count(replayed):
    """A word of as many texts as the source's row is worth is half its row and half naive Bayes of new texts alone."""
    source = built("sentiment", made_up("sentiment", 40))
    trained(source)
    origin = origin_of(source)
    # "film" is in one of these texts, and the source knows it.
    examples = [{"text": "zebra film", "label": "bad"}, {"text": "zebra zebra", "label": "good"}]
    known = source.recipe.assets
    assert set(known["labels"]) == {"bad", "good"} and "film" in known["words"]
    tuned = built("sentiment", examples + made_up("sentiment", replayed), origin, own=2, min_count=1)
    scratch = built("sentiment", examples, min_count=1)
    at, alone = (one.recipe.vocabulary.first + one.recipe.assets["words"].index("film") for one in (tuned, scratch))
    place = source.recipe.vocabulary.first + known["words"].index("film")
    counted = model_weights(scratch.model)["wide_words/word_rows"][alone]
    old = model_weights(source.model)["wide_words/word_rows"][place]
    assert counted.any() and old.any()
    np.testing.assert_allclose(
        model_weights(tuned.model)["wide_words/word_rows"][at], (counted + old) / 2, rtol=1e-5, atol=1e-7
    )


def tuned_report(trainer):
    return trainer.inherited.report.kinds()


@pytest.mark.parametrize(
    ("new", "octaves"),
    [((48, 93), 1), ((36, 81), 0), ((60, 84), 0), ((30, 86), 0), ((24, 60), -1), ((84, 105), 2), ((0, 127), 0)],
)
def test_pieces_are_lowered_by_octaves_only_where_they_leave_the_sources_range(new, octaves):
    assert octaves_above((36, 81), new) == octaves


def test_music_an_octave_higher_begins_with_the_weights_of_the_notes_below():
    examples = made_up("music", 40)
    source = built("music", examples)
    trained(source)
    higher = [{**one, "events": one["events"] + np.array([0, 0, 12], np.int32)} for one in examples]
    tuned = built("music", higher, origin_of(source))
    theirs, mine = (model_weights(one.model) for one in (source, tuned))
    note = frame_tokens.STRUCK  # of pitch 0
    for path in ("frames_before/all", "slots/table", "slots/bias"):
        np.testing.assert_array_equal(theirs[path][:note], mine[path][:note])
        np.testing.assert_array_equal(theirs[path][note : note + 116], mine[path][note + 12 : note + 128])
    told = "Pieces stand 1 octave higher than those that the weights come from: each note begins with the weights of"
    assert f"{told} the one 1 octave lower." in tuned.recipe.doubts()
    assert not any("octave" in doubt for doubt in source.recipe.doubts())
    # What is fine-tuned next finds the same weights under their own notes again.
    next_one = built("music", higher, origin_of(tuned))
    assert_same_weights(mine, model_weights(next_one.model))


def test_patience_counts_from_where_all_parts_learn():
    source = built("sentiment", made_up("sentiment", 60))
    settings = {"epochs": 10, "patience": 1, "learning_rate": 1e-12, "batch_size": 15}
    at_once = built("sentiment", made_up("sentiment", 60), origin_of(source), **settings)
    assert len(trained(at_once)) == 2  # the first is the best, then one in vain
    by_parts = built("sentiment", made_up("sentiment", 60), origin_of(source), unfreeze=0.6, **settings)
    assert len(trained(by_parts)) == 7


def test_few_examples_that_are_all_alike_tell_nothing():
    def verdicts(count):
        right, wrong = (tally_of_shares("accuracy", [(hit, 1)] * count) for hit in (1, 0))
        return compare.verdicts(compare.compared({"new": right}, {}, {"new": wrong.parts}, "test"))

    assert verdicts(3) == ["3 examples do not tell whether fine-tuned is better than training from scratch."]
    assert verdicts(30) == ["Fine-tuned is better than training from scratch."]
    known = {"part": "test", "examples": 6, "measure": "accuracy", "values": (1.0, 1.0, 1.0)}
    assert "6 examples, by which little is known of accuracy on others. --folds" in compare.doubt(known)
    assert "is known to lie between 0.5000 and 1.0000" in compare.doubt({**known, "values": (0.8, 0.5, 1.0)})


def test_what_new_images_are_like_is_not_told_by_those_that_are_seen_again():
    recipe, config = discovery.load("image_classification"), discovery.load_config("image_classification").Config()
    old, new = images_of(32, 32, grey=False), images_of(48, 40, grey=True)
    known = recipe.learn(config, old)
    both = dataclasses.replace(Source("both", lambda: iter((*new, *old, *old))), own=new)
    found = recipe.relearn(config, both, known)
    alone = recipe.relearn(config, new, known)
    assert all(found[name] == alone[name] for name in ("size", "images_grey", "grey", "halved"))
    assert sum(found["label_counts"]) > sum(alone["label_counts"])


def test_translations_into_another_language_are_warned_of():
    recipe, config = discovery.load("translation"), discovery.load_config("translation").Config(pieces=300)
    pairs = [{"text": "the old house and the dog", "target": "das alte Haus und der Hund"}] * 4
    learned = recipe.learn(config, Source("made up", lambda: iter(pairs)))
    words = ["das", "alte", "Haus", "und", "der", "Hund", "the", "old", "house", "and", "dog"]
    words += [f"w{number}" for number in range(1000)]
    known = {**learned, **{name: [*learned[name][:256], *words] for name in ("pieces", "source_pieces")}}

    def doubts(target):
        examples = [{**pair, "target": target} for pair in pairs]
        found = recipe.relearn(config, Source("made up", lambda: iter(examples)), known)
        return recipe(config, found).doubts()

    assert doubts("der alte Hund und das neue Haus") == []
    assert doubts("漢字かな") == []  # without blanks, where words are not to be found
    (told,) = doubts("la vieille maison et le chien")
    assert told.startswith("Only 0% of the most frequent words of target are known to the run that --init-from names")


# A linear part beside the LSTM has features of its own for words that are known, so that the LSTM alone is compared.
LSTM_ALONE = {"sentiment": "lstm_logits", "ner": "lstm_emissions"}


@EACH
def test_new_words_begin_as_unknown_ones(name):
    """So on the source's examples, and on those with new words, the network says what the source says."""
    source = built(name, made_up(name, 40))
    trained(source)
    examples = other_examples(name)
    tuned = built(name, examples, origin_of(source))
    if name in LSTM_ALONE:
        first, second = (
            trainer.model(trainer.train_step.get_inputs(_rows(trainer, examples)), training=False)[
                LSTM_ALONE[name]
            ].numpy()
            for trainer in (source, tuned)
        )
        np.testing.assert_allclose(first, second, atol=1e-5)
        return
    np.testing.assert_allclose(answers(source, examples), answers(tuned, examples), atol=1e-4)


def _rows(trainer, examples):
    """Model inputs of examples, as a store holds them."""
    fields = [field.name for field in trainer.recipe.fields if field.kind not in ("label", "tags")]
    batch = encoding.stacked([{name: one[name] for name in fields} for one in examples])
    return {f"feature/{key}": value for key, value in encoding.densified(trainer.recipe.encode(batch)).items()}


@EACH
def test_a_fine_tuned_training_goes_on_as_if_it_had_not_stopped(name):
    more = {"anchor": 2.0, "unfreeze": 0.4, "part_rate": 0.5, "fresh_first": 0.2}
    source = built(name, made_up(name, 40))
    origin = origin_of(source)
    whole = built(name, other_examples(name), origin, **more)
    trained(whole)
    cut = built(name, other_examples(name), origin, **more)
    cut._count_steps = lambda: 1
    for number, _ in enumerate(cut.fit(), 1):
        if number == 3:
            break
    arrays, numbers = cut.state()
    resumed = built(name, other_examples(name), origin, **more)
    resumed.restore(arrays, numbers)
    trained(resumed)
    assert_same_weights(whole.weights(), resumed.weights())


def images_of(height, width, grey):
    shape = (height, width) if grey else (height, width, 3)
    shades = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    return Source("made up", lambda: iter({"image_bytes": png(shades), "label": label} for label in "ab" * 3))


def test_images_are_brought_to_what_the_source_can_see():
    recipe, config = discovery.load("image_classification"), discovery.load_config("image_classification").Config()
    known = recipe.learn(config, images_of(32, 32, grey=False))
    found = recipe.relearn(config, images_of(96, 128, grey=True), known)
    assert (found["size"], found["halved"], found["grey"]) == ([48, 64], 0, False)
    assert recipe(config, found).doubts() == []
    # Which images may be mirrored is a matter of the images, not of what the source saw.
    assert not recipe(config, found).flip
    assert recipe(config, recipe.relearn(config, images_of(32, 32, grey=False), known)).flip
    # A source of larger images halves them first, and so does what begins with it, however small its images are.
    large = recipe.learn(config, images_of(100, 100, grey=True))
    small = recipe.relearn(config, images_of(32, 32, grey=False), large)
    assert (small["size"], small["halved"], small["grey"]) == ([32, 32], 2, True)
    assert "saw grey only" in recipe(config, small).doubts()[0]
    assert recipe.relearn(config, images_of(32, 32, grey=False), small)["halved"] == 2
    with pytest.raises(ConfigError, match="--channels is colour, but the run that --init-from names saw grey"):
        recipe.relearn(dataclasses.replace(config, channels="colour"), images_of(32, 32, grey=False), large)
