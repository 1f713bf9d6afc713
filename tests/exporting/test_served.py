"""The served model, in this process."""

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from facelab.data.encoded import ImageFiles
from facelab.errors import ConfigError, DataError
from facelab.exporting.served import MOST_ENCODED_BYTES, MOST_ROWS, Served, interface
from facelab.models.base import to_float
from facelab.models.sampling import sample
from facelab.models.trained import embeddings, load, predictions
from tests.exporting.untrained import NAMES, write_run


def encoded(image: Image.Image, kind: str = "PNG") -> str:
    file = io.BytesIO()
    image.save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def face(mode: str = "L", size: tuple[int, int] = (92, 112)) -> Image.Image:
    """A grey wedge with a bright corner."""
    levels = np.tile(np.linspace(0, 200, size[0], dtype=np.uint8), (size[1], 1))
    levels[:20, :20] = 255
    return Image.fromarray(levels).convert(mode)


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("cnn"), "cnn")


def table(*images: object) -> pd.DataFrame:
    return pd.DataFrame({"image": list(images)})


def test_identities_scores_and_embeddings(cnn: Path, tmp_path: Path) -> None:
    images = [face(), face("RGB", (300, 200)), face("P"), face("1")]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    # As data sources read them: converted to grey, resized.
    files = ImageFiles(sorted(tmp_path.glob("*.png")))
    pixels = np.stack([files.decode(i, 32, 1) for i in range(len(files))])
    found = Served.load(cnn).predict(table(*map(encoded, images)))
    module = load(cnn).module
    assert np.allclose(found["embedding"].tolist(), embeddings(module, pixels), atol=1e-6)
    assert [names[0] for names in found["identities"]] == [NAMES[i] for i in predictions(module, pixels)]
    for names, scores in zip(found["identities"], found["scores"], strict=True):
        assert sorted(names) == sorted(NAMES)
        assert sum(scores) == pytest.approx(1)
        assert scores == sorted(scores, reverse=True)
    jpeg = Served.load(cnn).predict(table(encoded(images[0].convert("L"), "JPEG")))
    assert list(jpeg.columns) == ["identities", "scores", "embedding"]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("not base64!", "row 1: the image is not base64"),
        ("data:image/png;base64,AAAA", "without data:image/...;base64, before it"),
        ("AAAA", "row 1: the image is not an image of a supported format"),
        ("", "row 1: the image is missing"),
        (None, "row 1: the image is missing"),
        (b"AAAA", "row 1: the image is missing"),
        (base64.b64encode(b"%PDF-1.7 ....").decode(), "row 1: the image holds PDF"),
        (base64.b64encode(b"P5 90000 90000 255\n").decode(), "row 1: the image claims more than 64,000,000 pixels"),
    ],
)
def test_a_faulty_image_fails_the_request(cnn: Path, image: object, says: str) -> None:
    with pytest.raises(DataError) as error:
        Served.load(cnn).predict(table(encoded(face()), image))
    assert says in str(error.value)


def test_all_faulty_images_are_named_at_once(cnn: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)2 images are unusable.*row 0.*row 2"):
        Served.load(cnn).predict(table("?", encoded(face()), "AAAA"))


def test_requests_are_bounded(cnn: Path) -> None:
    served = Served.load(cnn)
    with pytest.raises(DataError, match="the request has 100 MiB of images in base64; at most 32 are taken"):
        served.predict(table("A" * 100 * 2**20))
    assert MOST_ENCODED_BYTES == 32 * 2**20
    with pytest.raises(DataError, match=f"the request has 257 rows; at most {MOST_ROWS} are taken"):
        served.predict(table(*["AAAA"] * 257))
    with pytest.raises(DataError, match="the request has no rows"):
        served.predict(table())


def test_an_autoencoder_gives_reconstruction_errors(tmp_path: Path) -> None:
    run = write_run(tmp_path, "autoencoder", channels=3)
    found = Served.load(run).predict(table(encoded(face()), encoded(face("RGB", (32, 32)))))
    assert list(found.columns) == ["reconstruction_error", "embedding"]
    module = load(run).module
    small = to_float(torch.from_numpy(np.array(face("RGB", (32, 32)))).permute(2, 0, 1)[None])
    with torch.no_grad():
        apart = (module.decode(module.embed(small)) - small) / 2  # type: ignore[operator]
    assert found["reconstruction_error"][1] == pytest.approx(float(apart.square().mean().sqrt()), abs=1e-6)


def test_a_model_without_a_head_gives_embeddings(tmp_path: Path) -> None:
    assert list(Served.load(write_run(tmp_path, "cnn_triplet")).predict(table(encoded(face()))).columns) == [
        "embedding"
    ]


def test_a_gan_generates_what_facelab_generate_does(tmp_path: Path) -> None:
    run = write_run(tmp_path, "gan_conditional")
    served, module = Served.load(run), load(run).module
    asked = [{"n": 2, "seed": 7, "psi": 0.5, "label": "s2"}, {"n": 4, "seed": 1, "psi": None, "label": None}]
    found = served.predict(pd.DataFrame(asked))
    assert found["label"].tolist() == ["s2", "s2", "s1", "s2", "s3", "s1"]
    assert found["seed"].tolist() == [7, 7, 1, 1, 1, 1]
    expected = np.concatenate([sample(module, 2, 7, 1, 0.5)[0], sample(module, 4, 1)[0]]).squeeze(-1)
    images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found["image"]]
    assert np.array_equal(np.stack(images), expected)
    for row, says in (
        ({"n": 0, "seed": 0}, "row 0: n=0 is out of range; expected 1 to 256"),
        ({"n": 1, "seed": -1}, "row 0: seed=-1 is out of range"),
        ({"n": 1, "seed": 0, "psi": 3.0}, "row 0: psi=3.0 is out of range"),
        ({"n": 1, "seed": 0, "label": "s9"}, "row 0: there is no label 's9'; expected s1, s2, s3"),
    ):
        with pytest.raises(DataError) as error:
            served.predict(pd.DataFrame([row]))
        assert says in str(error.value)
    faulty = [{"n": 0, "seed": 0}, {"n": 1, "seed": 0}, {"n": 1, "seed": -1}]
    with pytest.raises(DataError, match=r"(?s)row 0: n=0 is out of range.*row 2: seed=-1 is out of range"):
        served.predict(pd.DataFrame(faulty))
    with pytest.raises(DataError, match="the request asks for 400 images; at most 256"):
        served.predict(pd.DataFrame([{"n": 200, "seed": 0}] * 2))


@pytest.mark.parametrize("choice", ["cnn", "cnn_triplet", "autoencoder", "gan_conditional"])
def test_the_example_fits_the_interface(choice: str, tmp_path: Path) -> None:
    run = write_run(tmp_path, choice)
    trained = load(run)
    declared = interface(trained.module, trained.metadata)
    found = Served(trained).predict(pd.DataFrame(declared.example))
    assert list(found.columns) == [column["name"] for column in declared.outputs]
    assert set(declared.example[0]) == {column["name"] for column in declared.inputs}


def test_a_config_that_may_not_be_built_is_refused(cnn: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((cnn / "model.safetensors").read_bytes())
    (tmp_path / "config.yaml").write_text("model: {_target_: os.system, _partial_: true, command: 'touch here'}")
    with pytest.raises(ConfigError, match="outside the allowed packages"):
        Served.load(tmp_path)
