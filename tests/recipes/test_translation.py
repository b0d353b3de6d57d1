"""Translation: one step at a time against whole sequences, a small run on made-up pairs, and what is served."""

import json

import keras
import numpy as np
import polib
import pytest
import tensorflow as tf

from common.inference import export, served_model
from common.modeling.layers.pooling import Pooling
from common.modeling.layers.transformer import MASKED, Attention, sinusoidal_positions
from common.text import placeholders, subwords
from common.types import ExampleSource
from recipes.translation import networks
from recipes.translation.config import Config
from recipes.translation.layers import PaddingBias, SampledIds, SequenceLengths, ShiftRight, TiedEmbedding
from recipes.translation.recipe import TranslationRecipe
from tests.helpers.cli_calls import SMALL_TRANSLATION, fails, good, tiny_pairs, write

NETWORKS = ("transformer", "lstm")
SETTINGS = {"hidden_dim": 8, "num_layers": 2, "num_heads": 2, "intermediate_dim": 12}
PIECES, WRITTEN = 30, 20  # of a joint vocabulary


def network(name, **settings):
    keras.utils.set_random_seed(4)
    config = Config(model=name, **SETTINGS, **settings)
    model = networks.build_model(config, WRITTEN, PIECES, is_joint=True)
    # Biases begin at 0, which would hide them.
    random = np.random.default_rng(0)
    model.set_weights([weight + random.normal(size=weight.shape, scale=0.3) for weight in model.get_weights()])
    return config, model


SOURCE = np.array([[5, 9, 7, 2], [8, 2, 0, 0]], np.int32)
TARGET = np.array([[6, 11, 4, 2], [12, 13, 2, 0]], np.int32)


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_give_what_whole_sequences_give(name):
    config, model = network(name)
    whole = model({"source": SOURCE, "target": TARGET}, training=False)["states"]
    scores = model.get_layer("pieces").output_projection(whole.dtype)
    expected = np.reshape(scores(tf.reshape(whole, [8, -1])), [2, 4, WRITTEN])
    step = networks.make_decoder_step(config, model, tf.constant(SOURCE), 1)
    state, before = step.state, np.full(2, subwords.START, np.int32)
    for position in range(4):
        state, logits, attention = step(state, tf.constant(before), tf.constant(position), step.memory)
        np.testing.assert_allclose(logits[0], expected[0, position], rtol=1e-4, atol=1e-4)
        if position < 3:
            np.testing.assert_allclose(logits[1], expected[1, position], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(tf.reduce_sum(attention, axis=1), 1, atol=1e-5)
        assert not attention[1, 2:].numpy().any()  # padding
        before = TARGET[:, position]


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_of_either_side_changes_nothing(name):
    _, model = network(name)
    found = model({"source": SOURCE, "target": TARGET}, training=False)["states"]
    alone = model({"source": SOURCE[1:, :2], "target": TARGET[1:, :3]}, training=False)["states"]
    np.testing.assert_allclose(found[1, :3], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_sees_nothing_of_what_comes_after_it(name):
    _, model = network(name)
    other = TARGET.copy()
    other[:, 2:] = 20
    first, second = (model({"source": SOURCE, "target": one}, training=False)["states"] for one in (TARGET, other))
    # The third state is of what comes third, and so sees the first two only.
    np.testing.assert_allclose(first[:, :3], second[:, :3], atol=1e-6)
    assert np.abs(first[:, 3] - second[:, 3]).max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_make_nothing_random_without_noise(name):
    _, model = network(name, stochastic_regularization=False, dropout=0.5)
    first, second = (model({"source": SOURCE, "target": TARGET}, training=True)["states"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


# Layers


def test_positions_are_sines_and_cosines():
    found = sinusoidal_positions(50, 6)
    for place, unit in ((0, 0), (3, 1), (17, 2), (49, 0)):
        angle = place / 10_000 ** (unit / 3)
        np.testing.assert_allclose(
            [found[place, unit], found[place, unit + 3]], [np.sin(angle), np.cos(angle)], atol=1e-6
        )


def test_attention_equals_keras():
    random = np.random.default_rng(0)
    queries, memory = (random.normal(size=(2, steps, 8)).astype(np.float32) for steps in (3, 5))
    seen = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
    ours, theirs = Attention(8, 2), keras.layers.MultiHeadAttention(2, 4)
    theirs.build(queries.shape, memory.shape)
    theirs.set_weights([random.normal(size=weight.shape) for weight in theirs.get_weights()])
    query, query_bias, key, key_bias, value, value_bias, output, output_bias = theirs.get_weights()
    theirs.set_weights([query, query_bias, key, 0 * key_bias, value, value_bias, output, output_bias])
    ours.build(queries.shape, memory.shape)
    named = {
        "query": query.reshape(8, 8),
        "key": key.reshape(8, 8),
        "value": value.reshape(8, 8),
        "output": output.reshape(8, 8),
        "query_bias": query_bias.ravel(),
        "value_bias": value_bias.ravel(),
        "output_bias": output_bias,
    }
    for weight in ours.trainable_weights:
        weight.assign(named[weight.name])
    unseen = np.where(seen, 0, MASKED).astype(np.float32)[:, None, None, :]
    expected = theirs(queries, memory, attention_mask=np.repeat(seen[:, None], 3, axis=1))
    np.testing.assert_allclose(ours(queries, memory, unseen), expected, rtol=1e-4, atol=1e-5)


def test_attention_wants_units_that_heads_can_share():
    with pytest.raises(ValueError, match="10 units cannot be shared by 4 heads"):
        Attention(10, 4)


def test_small_layers_by_hand():
    ids = tf.constant([[5, 6, 2], [7, 0, 0]])
    np.testing.assert_array_equal(PaddingBias()(ids)[:, 0, 0], [[0, 0, 0], [0, MASKED, MASKED]])
    np.testing.assert_array_equal(SequenceLengths()(ids), [3, 1])
    states = tf.constant([[[1.0], [2], [6]], [[4], [9], [9]]])
    np.testing.assert_allclose(Pooling("mean")(states, SequenceLengths()(ids)), [[3], [4]])
    before, later = ShiftRight()(ids)
    np.testing.assert_array_equal(before, [[1, 5, 6], [1, 7, 0]])
    np.testing.assert_array_equal(later[0, 0], [[0, MASKED, MASKED], [0, 0, MASKED], [0, 0, 0]])


def test_pieces_have_places_and_serve_for_scores():
    layer = TiedEmbedding(10, 4, max_length=6, dropout=0.0, num_scored=8)
    found = layer(tf.constant([[3, 3]]), first=2)
    table = layer.table.numpy()
    np.testing.assert_allclose(found[0], table[3] * 2 + sinusoidal_positions(6, 4)[2:4], atol=1e-6)
    beyond = layer(tf.constant([[3, 3]]), first=50)
    np.testing.assert_allclose(beyond[0, 0], table[3] * 2 + sinusoidal_positions(6, 4)[5], atol=1e-6)
    layer.bias.assign(np.arange(8.0))
    states = np.arange(12, dtype=np.float32).reshape([3, 4])
    found = layer.output_projection(tf.float32)(states)
    np.testing.assert_allclose(found, states @ table[:8].T + np.arange(8), atol=1e-5)


def test_ids_are_drawn_in_training_alone_and_evenly():
    keras.utils.set_random_seed(4)
    layer, ids = SampledIds(7, 5000), tf.constant([[5, 2]])
    assert layer(ids, training=False).shape == (0,)
    first, second = (layer(ids, training=True).numpy() for _ in range(2))
    assert first.shape == (5000,) and (first != second).any()
    # Of 5,000 draws, each of seven comes about 714 times, with a standard deviation of 25.
    np.testing.assert_allclose(np.bincount(first, minlength=7), 5000 / 7, atol=110)


@pytest.mark.parametrize("name", NETWORKS)
def test_training_by_drawn_pieces_is_validated_by_all(name):
    losses = {}
    for sampled in (0, 6):
        config, model = network(name, num_sampled=sampled, stochastic_regularization=False)
        recipe = TranslationRecipe(
            config,
            {
                "pieces": subwords.train_vocabulary(["a"], 259),
                "source_pieces": None,
                "num_target_pieces": None,
                "placeholders": False,
            },
        )
        for training in (False, True):
            outputs = model({"source": SOURCE, "target": TARGET}, training=training)
            losses[sampled, training] = recipe.compute_loss(model, {"target": tf.constant(TARGET)}, outputs)[0].numpy()
    np.testing.assert_allclose(losses[6, False], losses[0, False], rtol=1e-5)
    assert np.abs(losses[6, True] - losses[0, True]).max() > 1e-3


# A small run


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """The folder of a small finished run; tests must not change it."""
    folder = tmp_path_factory.mktemp("translation")
    data = write(folder / "pairs.csv", tiny_pairs(300), header=("text", "target"))
    more = ["--hidden-dim", 32, "--intermediate-dim", 64, "--epochs", 40, "--dropout", 0]
    good("run", "translation", "--data", data, "--run-dir", folder / "run", *SMALL_TRANSLATION, *more)
    return folder / "run"


@pytest.mark.slow
def test_words_are_learned_in_their_order(translator):
    metrics = json.loads((translator / "metrics.json").read_text())
    assert metrics["test"]["chrf"] > 60 and metrics["test"]["bleu"] > 40
    assert metrics["test"]["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")
    found = json.loads(good("predict", translator, "the red house").splitlines()[0])
    assert list(found) == ["text", "translation", "score"]
    assert found["translation"].startswith("das ")


@pytest.mark.slow
def test_measures_say_how_well_and_how_fast(translator):
    measured = json.loads((translator / "metrics.json").read_text())["test"]
    names = ["bleu", "chrf", "ter", "exact_match", "placeholder_errors", "with_placeholders", "bleu_signature"]
    assert list(measured) == [*names, "perplexity", "seconds", "sentences_per_second"]
    assert 1 < measured["perplexity"] < 10
    assert measured["with_placeholders"] == 0
    page = (translator / "report.html").read_text()
    assert "<th>perplexity</th>" in page and "<th>sentences per second</th>" in page


@pytest.mark.slow
def test_predict_aligns_words(translator):
    plain, found = (json.loads(good("predict", translator, "the red house", *more)) for more in ([], ["--alignment"]))
    aligned = found.pop("alignment")
    assert found == plain
    assert aligned["source"] == ["the", "red", "house"]
    assert aligned["target"] == found["translation"].split()
    assert sorted(at for _, at in aligned["pairs"]) == list(range(len(aligned["target"])))
    assert aligned["pairs"] == sorted(aligned["pairs"])
    for flags in (["--alignment"], ["--top-labels", "2"]):
        message = fails("predict", translator, "the red house", *flags, "--format", "po", status=2)
        assert message == f"{flags[0]} is about JSON objects, and --format is po: leave one of them out."


@pytest.mark.slow
def test_predict_fills_in_a_catalogue(translator, tmp_path):
    head = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    text = head + 'msgid "the red house"\nmsgstr ""\n\n# mine\nmsgid "the cat"\nmsgstr "die Katze"\n'
    (tmp_path / "de.po").write_text(text)
    (tmp_path / "out.po").write_text(good("predict", translator, "--input", tmp_path / "de.po", "--format", "po"))
    found = polib.pofile(str(tmp_path / "out.po"))
    lines = good("predict", translator, "--input", tmp_path / "de.po").splitlines()
    translations = [json.loads(line)["translation"] for line in lines]
    assert [one.msgid for one in found] == [json.loads(line)["text"] for line in lines]
    assert [one.msgstr for one in found] == [translations[0], "die Katze"]
    assert [one.flags for one in found] == [["fuzzy"], []]
    (tmp_path / "lines.txt").write_text("the cat\n")
    for more in (["the cat"], ["--input", tmp_path / "lines.txt"]):
        assert fails("predict", translator, *more, "--format", "po", status=2) == (
            "This --format fills in a message catalogue: name one by --input, such as messages.po."
        )


@pytest.mark.slow
def test_export_is_proved_and_gives_several_translations(translator, tmp_path):
    good("export", translator, "--output-dir", tmp_path / "export")
    card = json.loads((tmp_path / "export" / "1" / "assets.extra" / "card.json").read_text())
    assert card["proof"]["max_abs_difference"] <= export.TOLERANCE
    texts = ["the cat", "", "a red house sees the cat now", "日本語"]
    signatures = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures
    best = signatures["serving_default"](text=tf.constant(texts))
    several = signatures["n_best"](text=tf.constant(texts))
    assert several["translations"].shape == (4, 2)
    np.testing.assert_array_equal(several["translations"][:, 0], best["translation"])
    np.testing.assert_allclose(several["scores"][:, 0], best["score"], atol=1e-6)
    assert (several["scores"][:, 0] >= several["scores"][:, 1]).numpy().all()
    # A text alone is translated as in a batch, by the run as by the export.
    served = served_model.load_predictor(translator)
    for number, text in enumerate(texts):
        alone = next(served.iter_outputs("serving_default", [{"text": text}]))[1]
        assert alone["translation"][0] == best["translation"][number]


def with_placeholders(count, seed):
    """Pairs whose placeholders, with names of random letters, stand in the other order on the other side."""
    random = np.random.default_rng(seed)

    def name():
        return "".join(random.choice(list("abcdefgh"), 5))

    words = {"cat": "Tier", "house": "Haus", "car": "Auto"}
    found = []
    for _ in range(count):
        one, other, word = f"%({name()})s", f"{{{name()}}}", random.choice(list(words))
        found.append((f"the {word} of {one} <b>{other}</b>", f"<b>{other}</b> {one} das {words[word]}"))
    return found


@pytest.mark.slow
def test_placeholders_that_were_never_seen_come_back_letter_for_letter(tmp_path):
    data = write(tmp_path / "messages.csv", with_placeholders(150, 1), header=("text", "target"))
    flags = [*SMALL_TRANSLATION, "--hidden-dim", "32", "--epochs", "16"]
    run = good("run", "translation", "--data", data, *flags, "--run-dir", tmp_path / "run").strip()
    measured = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert measured["placeholder_errors"] == 0 and measured["with_placeholders"] > 5
    (text, target), *_ = with_placeholders(1, 99)
    line = good("predict", run, text, "--alignment").strip()
    assert json.loads(line)["translation"] == target
    assert target.split()[1] in json.loads(line)["alignment"]["target"]
    good("export", run, "--output-dir", tmp_path / "export")
    assert good("predict", tmp_path / "export", text, "--alignment").strip() == line


@pytest.mark.slow
def test_lstm_trains_and_is_exported(tmp_path):
    data = write(tmp_path / "pairs.tsv", tiny_pairs(60), header=("text", "target"))
    lines = (tmp_path / "pairs.tsv").read_text().replace(",", "\t")
    (tmp_path / "pairs.tsv").write_text(lines)
    flags = ["--model", "lstm", "--shared-vocabulary", "joint", *SMALL_TRANSLATION]
    good("run", "translation", "--data", data, *flags, "--run-dir", tmp_path / "run")
    good("export", tmp_path / "run", "--output-dir", tmp_path / "export")
    assert json.loads(good("predict", tmp_path / "export", "the cat"))["translation"] is not None


def test_of_a_joint_vocabulary_targets_are_written_with_their_own_pieces():
    pairs = [{"text": f"house {word}", "target": f"{word} Haus"} for word in ("%(one)s", "7", "eins")] * 4
    random = np.random.default_rng(7)
    pairs += [{"text": "".join(random.choice(list("aeioub"), 8)), "target": "7"} for _ in range(300)]
    config = Config(shared_vocabulary="joint", vocabulary_size=750, model="lstm", hidden_dim=8, num_layers=1)
    assets = TranslationRecipe.build_assets(config, ExampleSource("made up", lambda: iter(pairs)))
    recipe = TranslationRecipe(config, assets)
    written, left = assets["pieces"][: assets["num_target_pieces"]], assets["pieces"][assets["num_target_pieces"] :]
    assert {"ĠHaus", "eins"} <= set(written) and len(left) > 100
    assert set(placeholders.AS_PIECES) & set(assets["pieces"]) <= set(written) and (len(written) + 3) % 64 == 0
    examples = {name: tf.constant([one[name] for one in pairs]) for name in ("text", "target")}
    all_pieces = TranslationRecipe(config, {**assets, "num_target_pieces": None})
    assert recipe.encode(examples)["source"].to_list() == all_pieces.encode(examples)["source"].to_list()
    assert (
        recipe.encode_targets(examples)["target"].to_list() == all_pieces.encode_targets(examples)["target"].to_list()
    )
    model = recipe.build_model()
    table, bias = model.get_layer("pieces").output_weights()
    assert table.shape == (len(written) + 3, 8) and bias.shape == (len(written) + 3,)
    assert model.get_layer("pieces").table.shape == (len(assets["pieces"]) + 3, 8)
    # Other targets are written with more pieces, and none is lost.
    other = [{"text": "Haus", "target": left[-1]}] * 4
    found = TranslationRecipe.extend_assets(config, ExampleSource("made up", lambda: iter(other)), assets)
    assert {*written, left[-1]} <= set(found["pieces"][: found["num_target_pieces"]])
    assert len(found["pieces"]) > found["num_target_pieces"] and sorted(found["pieces"]) == sorted(assets["pieces"])


def test_settings_fit_the_model_and_the_data():
    found = TranslationRecipe.resolve_defaults(Config(), {"pairs": 30_000, "pieces": []})
    assert (found.epochs, found.hidden_dim, found.num_layers) == (20, 128, 4)
    found = TranslationRecipe.resolve_defaults(
        Config(model="lstm", num_layers=3, max_minutes=5), {"pairs": 30_000, "pieces": []}
    )
    assert (found.epochs, found.hidden_dim, found.num_layers) == (None, 256, 3)
