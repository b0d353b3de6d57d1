"""Music: likelihoods against a sum over all frames, one note at a time against whole pieces, and what is made up."""

import io
import itertools
import json

import keras
import mido
import numpy as np
import pytest
import tensorflow as tf

from common.data.check_music import count_voices
from common.inference import served_model
from common.music.frame_tokens import FRAME, HELD, STRUCK, TOKENS
from recipes.music import copies, model, sampling, scoring
from recipes.music.config import Config
from recipes.music.layers import MergeSegments, RandomTranspose, SplitSegments
from recipes.music.likelihood import greedy_frames, token_log_probs
from recipes.music.recipe import MusicRecipe
from tests.helpers.cli_calls import SMALL_MUSIC, fails, good, tiny_tunes, write_frames

ASSETS = {
    "low": 48,
    "high": 72,
    "voices": 3,
    "has_held_notes": True,
    "keys": True,
    "bar": 4,
    "pieces": 1,
    "frames": 8,
    "training_passages": "",
}


def network(tokens=TOKENS, **settings):
    keras.utils.set_random_seed(3)
    config = Config(**{"frame_lstm_units": 12, "note_lstm_units": 8, "frame_lstm_layers": 2, **settings})
    built = model.build_model(config, tokens, 48, 72)
    random = np.random.default_rng(0)
    built.set_weights([one + random.normal(size=one.shape, scale=0.3) for one in built.get_weights()])
    return config, built


def inputs(pieces, bar=4, key=0):
    """The model's inputs for lists of frames, each a list of tokens without its end."""
    rows = [[token for frame in piece for token in [*frame, FRAME]] for piece in pieces]
    padded = tf.ragged.constant(rows, tf.int32).to_tensor()
    return {"frames": padded, "bar": tf.fill([len(rows)], bar), "key": tf.fill([len(rows)], key)}


def nll(built, pieces, **about):
    outputs = built(inputs(pieces, **about), training=False)
    places, log_probs = token_log_probs(built, outputs)
    return -tf.math.unsorted_segment_sum(log_probs, places[:, 0], len(pieces)).numpy()


TUNE = [[STRUCK + 64, STRUCK + 60], [HELD + 64], [], [STRUCK + 67, STRUCK + 60]]


def test_chances_of_all_frames_that_can_follow_sum_to_one():
    # Three pitches alone may come, by a bias that rules out all others.
    _, built = network()
    slots = built.get_layer("slots")
    bias = np.full(TOKENS, -1e6, np.float32)
    bias[[FRAME, *(kind + pitch for kind in (STRUCK, HELD) for pitch in (60, 62, 64))]] = 0
    slots.bias.assign(bias)
    kinds = [(None, STRUCK, HELD)] * 3
    following = [
        [kind + pitch for kind, pitch in zip(chosen, (64, 62, 60), strict=True) if kind is not None]
        for chosen in itertools.product(*kinds)
    ]
    begun = [[STRUCK + 64, STRUCK + 60]]
    before = nll(built, [begun])[0]
    chances = np.exp(before - nll(built, [[*begun, frame] for frame in following]))
    possible = np.array([HELD + 62 not in frame for frame in following])  # 62 did not sound before
    assert chances[possible].sum() == pytest.approx(1, abs=1e-4)
    assert chances[~possible].max() == 0


def test_padding_changes_nothing():
    _, built = network()
    other = [[STRUCK + 50], [], [], [], [], [STRUCK + 70, STRUCK + 69, STRUCK + 68]]
    np.testing.assert_allclose(nll(built, [TUNE, other])[0], nll(built, [TUNE])[0], rtol=1e-5)


def test_place_in_the_bar_and_key_count():
    _, built = network()
    assert nll(built, [TUNE], bar=4)[0] != pytest.approx(nll(built, [TUNE], bar=3)[0], abs=1e-4)
    # In scores the key is not told.
    assert nll(built, [TUNE], key=5)[0] == nll(built, [TUNE], key=0)[0]


def test_one_note_at_a_time_gives_what_whole_pieces_give():
    config, built = network()
    tokens = inputs([TUNE])["frames"]
    one = tf.constant([1])
    wish = sampling.SamplingRequest(
        tf.zeros([1, 0], tf.int32),
        4 * one,
        tf.constant([1.0]),
        0 * one,
        tf.constant([1.0]),
        one,
        0 * one,
        4 * one,
        5 * one,
        0 * one,
        127 * one,
    )
    stepper = sampling.MusicDecoderStep(config, built, wish)
    state, last, total = stepper.state, tf.constant([0]), 0.0
    for position, token in enumerate(tokens[0].numpy()):
        state, scores = stepper(state, last, tf.constant(position))
        total -= tf.nn.log_softmax(scores)[0, token].numpy()
        last = tf.constant([token])
    assert total == pytest.approx(nll(built, [TUNE])[0], rel=1e-4)
    _, scores = stepper(state, last, tf.constant(len(tokens[0])))
    assert tf.nn.softmax(scores)[0, sampling.END] == 1  # four frames were wished for


def test_steps_cut_in_training_are_put_together_again():
    values = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")
    cut = SplitSegments(3)(values, training=True)
    assert cut.shape == (6, 3, 3)
    np.testing.assert_array_equal(cut[1], values[0, 3:6])
    np.testing.assert_array_equal(MergeSegments()(cut, values), values)
    np.testing.assert_array_equal(SplitSegments(3)(values), values)
    np.testing.assert_array_equal(SplitSegments(7)(values, training=True), values)


def test_pieces_are_moved_within_the_range_and_their_keys_with_them():
    grid = tf.repeat(tf.constant([[[STRUCK + 60, HELD + 55, FRAME], [FRAME, 0, 0]]]), 400, axis=0)
    moved, key = RandomTranspose(5, 52, 64)(grid, tf.fill([400], 12), training=True)  # B major
    shift = moved[:, 0, 0].numpy() - (STRUCK + 60)
    assert set(shift) == {-3, -2, -1, 0, 1, 2, 3, 4}
    counts = np.bincount(shift + 3)
    assert np.delete(counts, 3).min() > 15 and counts[3] > 90  # 37 each, and 137 that stay
    np.testing.assert_array_equal(moved[:, 0, 1] - (HELD + 55), shift)
    assert (moved.numpy()[:, 0, 2] == FRAME).all() and (moved.numpy()[:, 1] == [FRAME, 0, 0]).all()
    known = (key.numpy() > 0) & (key.numpy() <= 24)
    np.testing.assert_array_equal(key.numpy()[~known], np.where(shift == 0, 0, 25)[~known])
    assert 0.4 < known.mean() < 0.6
    np.testing.assert_array_equal(key.numpy()[known], ((11 + shift) % 12 + 1)[known])
    still, key = RandomTranspose(5, 52, 64)(grid, tf.fill([400], 12))
    assert (still.numpy() == grid.numpy()).all() and not key.numpy().any()


def test_minor_keys_stay_minor():
    grid = tf.repeat(tf.constant([[[STRUCK + 60, FRAME]]]), 50, axis=0)
    moved, key = RandomTranspose(1, 0, 127)(grid, tf.fill([50], 13), training=True)  # C minor
    shift = moved[:, 0, 0].numpy() - (STRUCK + 60)
    names = {-1: 24, 0: 13, 1: 14}
    pairs = zip(key.numpy().tolist(), shift.tolist(), strict=True)
    assert all(one in (25 if by else 0, names[by]) for one, by in pairs)
    assert key.numpy().any()


def test_chosen_frames_are_the_likeliest_notes_one_by_one():
    config, built = network()
    outputs = built(inputs([TUNE]), training=False)
    chosen = greedy_frames(built, outputs).numpy()[0]
    wish_of = {
        "top_k": 0,
        "top_p": 1.0,
        "temperature": 0.0,
        "seed": 1,
        "key": 0,
        "bar": 4,
        "voices": 2,
        "low": 0,
        "high": 127,
    }
    for number in range(len(TUNE)):
        prompt = inputs([TUNE[:number]])["frames"] if number else tf.zeros([1, 0], tf.int32)
        wish = {name: tf.constant([value]) for name, value in wish_of.items()}
        found = sampling.sample_tokens(
            config, built, sampling.SamplingRequest(prompt, tf.constant([number + 1]), **wish)
        ).numpy()[0]
        frame = found[prompt.shape[1] :]
        frame = frame[: list(frame).index(FRAME)]
        expected = [token for token in chosen[number].tolist() if token > FRAME]
        # The grid is three places wide, and voices are two.
        assert frame.tolist()[:2] == expected[:2]


def served(**settings):
    config, built = network(**settings)
    recipe = MusicRecipe(config, ASSETS)
    return recipe, served_model.serve_model(recipe, built, config)


WISH = {"length": 8, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 5}
MORE = {"key": 3, "bar": 4, "voices": 2, "low": 55, "high": 66, "tempo": 100.0}


def answered(calls, name, examples):
    found = {}
    for positions, outputs in calls.iter_outputs(name, examples):
        for row, position in enumerate(positions):
            found[position] = {key: value[row] for key, value in outputs.items()}
    return [found[number] for number in range(len(examples))]


@pytest.fixture(scope="module")
def player():
    return served()


def test_wishes_are_kept(player):
    prompt = np.array([[0, 3, 80], [0, 1, 76], [0, 1, 72], [2, 2, 70]], np.int32)
    wishes = [{"events": prompt, **WISH, **MORE, "seed": seed} for seed in range(20)]
    for one in answered(player[1], "conditioned", wishes):
        events = one["events"][: one["lengths"]]
        made = events[events[:, 0] >= 4]
        assert len(made)
        assert made[:, 2].min() >= 55 and made[:, 2].max() <= 66
        assert count_voices(events, 8)[4:].max() <= 2
        assert (events[:, 0] + events[:, 1]).max() <= 8
        begun = events[events[:, 0] < 4]
        assert {(start, pitch) for start, _, pitch in begun.tolist()} == {(0, 80), (0, 76), (0, 72), (2, 70)}
        assert {tuple(row) for row in begun.tolist() if row[2] > 70} == {(0, 3, 80), (0, 1, 76), (0, 1, 72)}


def test_same_seed_gives_the_same_bytes_whatever_stands_beside_it(player):
    empty = np.zeros([0, 3], np.int32)
    long = np.array([[step, 1, 60] for step in range(11)], np.int32)
    one, other = {"events": empty, **WISH}, {"events": long, **WISH, "length": 20, "top_k": 4, "temperature": 0.5}
    alone = answered(player[1], "serving_default", [one])[0]
    beside = answered(player[1], "serving_default", [other, one, other])[1]
    assert alone["midi_bytes"] == beside["midi_bytes"]
    assert alone["lengths"] == beside["lengths"] > 0
    assert answered(player[1], "serving_default", [one | {"seed": 6}])[0]["midi_bytes"] != alone["midi_bytes"]


def test_midi_bytes_hold_the_events(player):
    one = answered(player[1], "serving_default", [{"events": np.zeros([0, 3], np.int32), **WISH}])[0]
    file = mido.MidiFile(file=io.BytesIO(one["midi_bytes"]))
    now, started, found = 0, {}, []
    for message in file.tracks[0]:
        now += message.time
        if message.type == "note_on" and message.velocity:
            started[message.note] = now
        elif message.type in ("note_on", "note_off"):
            begun = started.pop(message.note)
            step = file.ticks_per_beat // 4
            found.append([begun // step, (now - begun) // step, message.note])
    assert sorted(found) == sorted(one["events"][: one["lengths"]].tolist())


def test_samples_come_as_often_as_the_score_says():
    config, built = network()
    bias = np.full(TOKENS, -1e6, np.float32)
    bias[[FRAME, STRUCK + 60, STRUCK + 62]] = [1, 0, 0]
    built.get_layer("slots").bias.assign(bias)
    calls = served_model.serve_model(MusicRecipe(config, ASSETS), built, config)
    wishes = [{"events": np.zeros([0, 3], np.int32), **WISH, "length": 1, "seed": seed} for seed in range(2000)]
    chords = [(), (60,), (62,), (62, 60)]
    drawn = [
        chords.index(tuple(one["events"][: one["lengths"], 2].tolist()))
        for one in answered(calls, "serving_default", wishes)
    ]
    pieces = [
        {"events": np.array([[0, 1, pitch] for pitch in chord], np.int32).reshape(-1, 3), "steps": 1, "bar": 4}
        for chord in chords
    ]
    chances = np.exp([-one["nll"] for one in answered(calls, "score", pieces)])
    assert chances.sum() == pytest.approx(1, abs=1e-4)
    shares = np.bincount(drawn, minlength=4) / 2000
    np.testing.assert_allclose(shares, chances, atol=4 * 0.5 / np.sqrt(2000))  # four standard deviations


def test_score_counts_notes_and_what_was_guessed(player):
    _, calls = player
    pieces = [
        {"events": np.array([[0, 2, 64], [0, 1, 60], [3, 1, 67], [3, 1, 60]], np.int32), "steps": 4, "bar": 4},
        {"events": np.zeros([0, 3], np.int32), "steps": 3, "bar": 4},
        {"events": np.zeros([0, 3], np.int32), "steps": 0, "bar": 0},
    ]
    found = answered(calls, "score", pieces)
    built = network()[1]
    assert found[0]["nll"] == pytest.approx(nll(built, [TUNE])[0], rel=1e-4)
    assert [one["notes"] for one in found] == [5, 0, 0]
    assert found[1]["nll"] == pytest.approx(nll(built, [[[], [], []]])[0], rel=1e-4)
    assert found[2]["nll"] == 0 and found[2]["either"] == 0
    assert 0 <= found[0]["correct"] <= 5 <= found[0]["either"]


# Measures


def test_histograms_of_a_tune_worked_by_hand():
    events = np.array([[0, 2, 64], [0, 1, 60], [2, 1, 67], [3, 1, 52]])
    counted = {name: list(values(events, 4, 4)) for name, values in scoring.HISTOGRAMS.items()}
    assert counted["pitch_class"] == [4, 0, 7, 4]
    assert counted["interval"] == [3, -12]  # 64 to 67, then 15 down, which counts as 12
    assert counted["duration"] == [2, 1, 1, 1]
    assert counted["onset"] == [0, 0, 2, 3]
    assert counted["density"] == [2, 0, 1, 1]
    assert counted["polyphony"] == [2, 1, 1, 1]


def test_repetition_counts_bars_that_were_there_before():
    bar = [[0, 1, 60], [2, 2, 64]]
    events = np.array([[start + 4 * number, *rest] for number in (0, 1, 3) for start, *rest in bar] + [[8, 1, 61]])
    assert scoring.bar_repetition_rate(events[np.argsort(events[:, 0], kind="stable")], 4) == 2 / 4
    assert scoring.bar_repetition_rate(np.zeros([0, 3], int), 4) == 0


def shared_by_hand(one, other):
    """The most notes in a row whose distances, in steps and semitones, are the same."""
    best = 0
    for i, j in itertools.product(range(len(one)), range(len(other))):
        length = 1
        while i + length < len(one) and j + length < len(other):
            here, there = one[i + length] - one[i + length - 1], other[j + length] - other[j + length - 1]
            if (here[0], here[2]) != (there[0], there[2]):
                break
            length += 1
        best = max(best, length)
    return best


@pytest.mark.parametrize("seed", range(40))
def test_longest_copy_is_that_found_by_comparing_all(seed):
    random = np.random.default_rng(seed)

    def piece(most):
        count = random.integers(0, most)
        starts = np.sort(random.integers(0, 6, count))
        return np.stack([starts, np.ones(count, int), random.integers(60, 63, count)], axis=1)

    known, made = [piece(9) for _ in range(3)], [piece(14) for _ in range(2)]
    passages = copies.PassageIndex()
    for one in known:
        passages.add(one)
    expected = max(shared_by_hand(one, other) for one in made for other in known)
    assert copies.longest_copied_passage(made, copies.deserialize_passages(passages.serialize())) == expected


# Runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    data = write_frames(folder / "tunes.json", tiny_tunes(60))
    path = good("run", "music", "--data", data, *SMALL_MUSIC, "--epochs", "60", "--run-dir", folder / "run").strip()
    return folder, path


@pytest.mark.slow
def test_small_run_learns_a_tune(run):
    folder, path = run
    metrics = json.loads((folder / "run" / "metrics.json").read_text())["valid"]
    # Scales by one step up or down at each frame: a coin's toss, and the first note.
    assert metrics["nll_per_frame"] < 1.6
    assert 0.25 < metrics["frame_accuracy"] < 0.45  # half of the notes right: of three that either holds, one
    made = json.loads(good("predict", path, "C4 D4 E4", "--length", "12steps", "--temperature", "0.3"))
    pitches = [pitch for _, _, pitch in made["events"]]
    assert pitches[:3] == [60, 62, 64] and len(made["events"]) == made["notes"]


@pytest.mark.slow
def test_predict_writes_files_of_every_kind_for_every_piece(run, tmp_path):
    _, path = run
    kinds = ("mid", "wav", "png", "svg", "musicxml", "json")
    flags = [word for kind in kinds for word in ("--output", tmp_path / f"tune.{kind}")]
    lines = good("predict", path, "--length", "2bars", "--num-samples", "2", "--seed", "3", *flags).splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [3, 4]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"tune-{n}.{kind}" for n in (1, 2) for kind in kinds)
    told = json.loads((tmp_path / "tune-2.json").read_text())
    assert len(told["events"]) == json.loads(lines[1])["notes"]
    again = good("predict", path, "--length", "2bars", "--seed", "4", "--output", tmp_path / "again.mid")
    assert (tmp_path / "again.mid").read_bytes() == (tmp_path / "tune-2.mid").read_bytes()
    assert json.loads(again)["files"] == [str(tmp_path / "again.mid")]


@pytest.mark.slow
def test_predict_goes_on_from_a_file_and_takes_prompts_from_stdin(run, tmp_path):
    _, path = run
    good("predict", path, "C4 E4 r:2", "--length", "4steps", "--output", tmp_path / "begun.mid")
    one = json.loads(
        good("predict", path, "--prompt", tmp_path / "begun.mid", "--length-after-prompt", "--length", "3steps")
    )
    assert one["steps"] == 4 + 3 or one["steps"] == 2 + 3  # a MIDI file may end with its last note
    assert [row[2] for row in one["events"]][:2] == [60, 64]
    third = json.loads(good("predict", path, "C4:2/2 E4", "--length", "4steps"))
    assert third["events"][1][0] == 1
    long = json.loads(good("predict", path, "C4 " * 200, "--length-after-prompt", "--length", "1steps"))
    assert long["steps"] == 201
    lines = good("predict", path, "-", "--length", "6steps", text="C4\n60 62\n").splitlines()
    assert [json.loads(line)["events"][0][2] for line in lines] == [60, 60]


@pytest.mark.slow
def test_wishes_that_cannot_be_are_told_in_one_sentence(run, tmp_path):
    _, path = run
    assert '"H4"' in fails("predict", path, "C4 H4", status=2)
    assert "--length-after-prompt" in fails("predict", path, "C4 C4 C4", "--length", "2steps", status=2)
    assert ".mid" in fails("predict", path, "--output", tmp_path / "tune.mp3", status=2)
    assert "told none" in fails("predict", path, "--key", "D minor", status=2)
    assert "--explain" in fails("predict", path, "--explain", status=2)
    assert "--lowest-note" in fails("predict", path, "--lowest-note", "C5", "--highest-note", "C4", status=2)
    (tmp_path / "broken.mid").write_bytes(b"MThd broken")
    broken = fails("predict", path, "--prompt", tmp_path / "broken.mid")
    assert "ends too early" in broken and "strict" not in broken
    (tmp_path / "broken.mid").unlink()
    assert "is no file" in fails("predict", path, "--prompt", tmp_path)
    assert "no.mid is no file" in fails("predict", path, "--prompt", "no.mid")
    assert "soon" in fails("predict", path, "--length", "soon", status=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_export_gives_the_same_pieces_as_the_run_and_can_be_scored(run, tmp_path):
    folder, path = run
    good("export", path, "--output-dir", tmp_path / "export")
    for words in (
        ["C4 D4", "--length", "20steps", "--seed", "9"],
        ["--length", "16steps", "--max-voices", "2", "--lowest-note", "C3"],
    ):
        assert good("predict", path, *words) == good("predict", tmp_path / "export", *words)
    scored = [
        json.loads(good("evaluate", one, "--data", folder / "tunes.json", "--json"))["nll_per_frame"]
        for one in (path, tmp_path / "export")
    ]
    assert scored[0] == pytest.approx(scored[1], abs=1e-5)
    # As in the README: the whole of a file in one call.
    model = tf.saved_model.load(str(tmp_path / "export" / "1"))
    one = model.signatures["serving_default"](
        events=tf.zeros([1, 0, 3], tf.int32),
        length=tf.constant([16]),
        temperature=tf.constant([0.9]),
        top_k=tf.constant([0]),
        top_p=tf.constant([1.0]),
        seed=tf.constant([7]),
    )
    assert one["midi_bytes"].numpy()[0].startswith(b"MThd")
