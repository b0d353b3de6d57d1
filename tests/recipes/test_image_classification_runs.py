"""Image classification: a small run on made-up pictures, what it predicts, explains and exports."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from common.data import image_decoding
from common.data.readers import image_bytes
from common.inference import export, served_model
from tests.helpers.cli_calls import SMALL_IMAGES, call, fails, good, tiny_images, write, write_images
from tests.helpers.made_images import picture

LABELS = ["across", "down"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with the parts train, valid and test, each with folders of labels."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (name, count) in enumerate({"train": 120, "valid": 50, "test": 50}.items()):
        write_images(folder / name, tiny_images(count, seed))
    return folder


@pytest.fixture(scope="module")
def classifier(parts, tmp_path_factory):
    """The folder of a small finished run; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "images"
    good("run", "image_classification", "--data", parts, "--run-dir", folder, *SMALL_IMAGES)
    return folder


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    to = tmp_path_factory.mktemp("exports") / "images"
    good("export", classifier, "--output-dir", to)
    return to / "1"


@pytest.mark.slow
def test_bars_across_are_told_from_bars_down(classifier):
    metrics = json.loads((classifier / "metrics.json").read_text())
    assert metrics["examples"]["test"] == 50
    assert metrics["test"]["accuracy"] > 0.9


@pytest.mark.slow
def test_shares_are_those_that_fit_validation(classifier, parts):
    # The weights that are kept have with them how sure they are to be: what is served has the loss that training told.
    share = np.load(classifier / "best_weights.npz")["blend/shares"]
    assert share.shape == (1,) and share[0] != 1
    epochs = [json.loads(line) for line in (classifier / "history.jsonl").read_text().splitlines()]
    best = max(epochs, key=lambda one: (one["valid_accuracy"], -one["valid_loss"]))
    found = json.loads(good("evaluate", classifier, "--data", parts / "valid", "--json"))
    assert found["log_loss"] == pytest.approx(best["valid_log_loss"], rel=1e-4)


@pytest.mark.slow
def test_export_is_proved_and_takes_files_or_pixels(exported):
    card = json.loads((exported / "assets.extra" / "card.json").read_text())
    assert card["proof"]["inputs"] > export.MANY + export.FEWER
    assert card["proof"]["max_abs_difference"] <= export.TOLERANCE
    outputs = {"label": "string[None]", "score": "float32[None]", "scores": "float32[None, 2]"}
    assert card["signatures"] == {
        "serving_default": {"inputs": {"image_bytes": "string[None]"}, "outputs": outputs},
        "pixels": {"inputs": {"pixels": "float32[None, 16, 16, 3]"}, "outputs": outputs},
        "explain": {
            "inputs": {"image_bytes": "string[None]"},
            "outputs": {"label": "string[None]", "heat": "float32[None, 16, 16]"},
        },
    }


@pytest.mark.slow
def test_signatures_give_the_same_by_files_and_by_pixels(exported):
    signatures = tf.saved_model.load(str(exported)).signatures
    files = tf.constant([file for file, _ in tiny_images(20, seed=7)] + [picture("JPEG"), picture(mode="LA")])
    by_files = signatures["serving_default"](image_bytes=files)
    shades = tf.cast(image_decoding.decode_and_resize(files, 16, 16, 3), tf.float32)
    # Fractions are rounded, and what lies beyond black and white is taken for these.
    beyond = tf.where(shades == 255, 1e6, tf.where(shades == 0, -1e6, shades))
    for given in (shades, shades + 0.4, shades - 0.4, beyond):
        found = signatures["pixels"](pixels=given)
        assert found["label"].numpy().tolist() == by_files["label"].numpy().tolist()
        np.testing.assert_allclose(found["scores"], by_files["scores"], atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(by_files["scores"], axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(tf.reduce_max(by_files["scores"], axis=1), by_files["score"])
    best = tf.argmax(by_files["scores"], axis=1).numpy()
    assert [LABELS[one].encode() for one in best] == by_files["label"].numpy().tolist()


@pytest.mark.slow
def test_predict_names_the_file_of_each_image_and_leaves_bad_ones_out(classifier, parts, tmp_path):
    down = sorted((parts / "test" / "down").iterdir())
    (tmp_path / "broken.png").write_bytes(down[0].read_bytes()[:-40])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "photo.jpg").write_bytes(picture("JPEG", size=(50, 40)))
    (tmp_path / "photo.webp").write_bytes(picture("WEBP"))
    some = parts / "test" / "across" / "[0-9].png"
    result = call("predict", classifier, tmp_path, tmp_path / "missing.png", down[0], parts / "test" / "down", some)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{tmp_path / 'broken.png'} is a broken PNG file (cut off or damaged); it is left out.",
        f"{tmp_path / 'notes.txt'} is no image; it is left out.",
        f"{tmp_path / 'missing.png'} cannot be read (No such file or directory); it is left out.",
        "Error: 3 of the inputs could not be used; the others were predicted.",
    ]
    found = [json.loads(line) for line in result.stdout.splitlines()]
    across = [parts / "test" / "across" / f"{number}.png" for number in (0, 2, 4, 6, 8)]
    shown = [tmp_path / "photo.jpg", tmp_path / "photo.webp", down[0], *down, *across]
    assert [one["file"] for one in found] == [str(path) for path in shown]
    assert all(list(one) == ["file", "label", "score", "scores"] and list(one["scores"]) == LABELS for one in found)
    labels = Counter((one["file"].split("/")[-2], one["label"]) for one in found[2:])
    assert labels["down", "down"] + labels["across", "across"] > 0.9 * labels.total()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["classifier", "exported"])
def test_explain_writes_a_picture_next_to_each_image(target, request, parts, tmp_path):
    folder = request.getfixturevalue(target)
    for name in ("1.png", "3.png"):
        shutil.copy(parts / "test" / "down" / name, tmp_path / name)
    for times in range(2):  # pictures of before are no images to predict
        asked = [tmp_path, tmp_path / "*.png"][times]
        found = [json.loads(line) for line in good("predict", folder, "--explain", asked).splitlines()]
        assert [(one["file"], one["explanation"]) for one in found] == [
            (str(tmp_path / name), str(tmp_path / f"{name}.explained.png")) for name in ("1.png", "3.png")
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "1.png",
        "1.png.explained.png",
        "3.png",
        "3.png.explained.png",
    ]
    assert image_bytes.image_size_and_mode((tmp_path / "1.png.explained.png").read_bytes()) == (20, 18, "RGB")


@pytest.mark.slow
def test_explain_to_writes_into_a_folder(classifier, parts, tmp_path):
    write(parts / "some.csv", [["test/down/1.png"], ["test/across/0.png"]], header=["path"])
    to = tmp_path / "new" / "folder"
    good("predict", classifier, "--input", parts / "some.csv", "--explain-dir", to)
    assert sorted(path.name for path in to.iterdir()) == ["0001-input.explained.png", "0002-input.explained.png"]
    message = fails("predict", classifier, "--input", parts / "some.csv", "--explain", status=2)
    assert message == "--explain writes next to files, and this input is none. Give --explain-dir FOLDER."


@pytest.mark.slow
def test_top_k_shows_the_best_labels_from_the_largest_down(classifier, parts):
    image = parts / "test" / "down" / "1.png"
    whole = json.loads(good("predict", classifier, image))
    for count in (1, 2, 5):
        found = json.loads(good("predict", classifier, image, "--top-labels", count))
        best = sorted(whole["scores"].items(), key=lambda pair: -pair[1])[:count]
        assert list(found["scores"].items()) == best
    fails("predict", classifier, image, "--top-labels", 0, status=2)


@pytest.mark.slow
def test_predict_takes_names_from_stdin(exported, parts):
    names = [parts / "test" / "down" / "1.png", parts / "test" / "across" / "0.png"]
    printed = good("predict", exported, "-", text=f"{names[0]}\n\n {names[1]}\n")
    found = [json.loads(line) for line in printed.splitlines()]
    assert [(one["file"], one["label"]) for one in found] == [(str(names[0]), "down"), (str(names[1]), "across")]


@pytest.mark.slow
def test_predict_takes_a_file_of_names_or_a_table(exported, parts):
    (parts / "names.txt").write_text(f"{parts / 'test' / 'down'}\n", encoding="utf-8")
    printed = good("predict", exported, "--input", parts / "names.txt")
    found = [json.loads(line)["file"] for line in printed.splitlines()]
    assert found == [str(path) for path in sorted((parts / "test" / "down").iterdir())]
    write(parts / "table.csv", [["test/down/1.png"], ["nowhere.png"], ["test/across/0.png"]], header=["path"])
    result = call("predict", exported, "--input", parts / "table.csv")
    assert result.exit_code == 1
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == ["down", "across"]
    assert "table.csv:3" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--model", "cnn", "--mix-augmentation", "mixup", "--color-mode", "grayscale"),
        (
            "--squeeze-excite",
            "--blocks-per-stage",
            "2",
            "--max-rotation-degrees",
            "20",
            "--random-zoom",
            "0.2",
            "--color-jitter",
            "0.2",
            "--erasing-size",
            "0.3",
        ),
        ("--mix-augmentation", "cutmix", "--flip-tta", "--class-weights", "balanced", "--image-size", "12x9"),
    ],
    ids=["cnn", "squeeze", "cutmix"],
)
def test_other_settings_train_and_serve(parts, tmp_path, flags):
    small = [*SMALL_IMAGES, "--base-filters", "2", "--epochs", "1", "--limit", "40", *flags]
    good("run", "image_classification", "--data", parts / "train", "--run-dir", tmp_path / "a", *small)
    served = served_model.load_predictor(tmp_path / "a")
    files = [file for file, _ in tiny_images(4, seed=5)]
    mirrored = [image_bytes.encode_png(tf.io.decode_png(file).numpy()[:, ::-1]) for file in files]
    found, of_mirrored = (
        served.predict([{"image_bytes": file} for file in some], lambda _, one: one["scores"])
        for some in (files, mirrored)
    )
    np.testing.assert_allclose(np.sum(found, axis=1), 1, atol=1e-5)
    assert np.allclose(found, of_mirrored, atol=1e-5) == ("--flip-tta" in flags)
