"""`mlflow models serve` on a logged model, asked over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facelab.data.sources.orl import ORL
from facelab.models.trained import embeddings, load
from facelab.tracking import SqliteStore
from tests.conftest import ROOT, free_port
from tests.exporting.test_served import encoded, face
from tests.tracking.test_models import finished_run, models_of

pytestmark = pytest.mark.slow


@contextmanager
def served(store: SqliteStore, model: str, folder: Path) -> Iterator[str]:
    """The address at which MLflow serves a model of a store."""
    programs = Path(str(distribution("uvicorn").locate_file("../../../bin"))).resolve()  # MLflow starts uvicorn
    port, path = free_port(), f"{programs}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [*(sys.executable, "-m", "mlflow", "models", "serve"), "-m", model, "--env-manager", "local", "-p", str(port)],
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": store.uri, "PATH": path, "PYTHONPATH": str(ROOT / "src")},
        stdout=(folder / "server.log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 600
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def post(address: str, body: object) -> tuple[int, dict[str, Any]]:
    """Status and answer of a request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def records(*images: object) -> dict[str, object]:
    return {"dataframe_records": [{"image": image} for image in images]}


def test_a_registered_model_answers_over_http(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path), "served", "office")
    run = finished_run(store, tmp_path / "runs")
    assert run.settle()
    image = np.asarray(ORL(image_size=32, last_person=2).load().pixels)[0]
    png = encoded(face())
    with served(store, "models:/office/1", tmp_path) as address:
        status, answer = post(
            address, records(encoded(Image.fromarray(image.squeeze(-1))), encoded(face("RGB", (640, 480))))
        )
        assert status == 200
        first, second = answer["predictions"]
        expected = embeddings(load(run.folder).module, image[None])[0].tolist()
        assert first["embedding"] == pytest.approx(expected, abs=1e-5)
        assert sorted(first["identities"]) == ["s1", "s2", "s3"]
        assert sum(second["scores"]) == pytest.approx(1)
        for body, says in (
            (records("?"), "row 0: the image is not base64"),
            (records(png, "AAAA"), "row 1: the image is not an image of a supported format"),
            (records(None), "row 0: the image is missing"),
            (records(*[png] * 257), "the request has 257 rows; at most 256 are taken"),
            (records("A" * 100 * 2**20), "the request has 100 MiB of images in base64; at most 32 are taken"),
            ({"dataframe_records": [{"picture": png}]}, "Model is missing inputs ['image']"),
            ({"dataframe_records": []}, "Model is missing inputs ['image']"),
            ({}, "dataframe_records"),
            (b"{", "valid JSON"),
            (records(7), "row 0: the image is missing"),
        ):
            status, answer = post(address, body)
            assert (status, says in str(answer["message"])) == (400, True), (status, str(answer)[:1000])
        assert post(address, records(png))[0] == 200


def test_a_gan_generates_over_http(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path), "served")
    run = finished_run(store, tmp_path / "runs", "gan_conditional")
    assert run.settle()
    with served(store, f"models:/{models_of(run)[0]}", tmp_path) as address:
        status, answer = post(address, {"dataframe_records": [{"n": 3, "seed": 5}]})
        assert status == 200
        assert [row["label"] for row in answer["predictions"]] == ["s1", "s2", "s3"]
        status, answer = post(address, {"dataframe_records": [{"n": 3, "seed": 5, "label": "s7"}]})
        assert (status, "there is no label 's7'" in str(answer["message"])) == (400, True)
