"""Runs with untrained models, served as `facelab demo` serves them."""

import http.client
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from facelab.commands.train import check_training
from facelab.config.compose import config_folder
from facelab.demo.app import make_app
from facelab.demo.serve import HOST, make_server, reserve
from facelab.demo.subject import Subject
from facelab.models.trained import load, save
from facelab.runs.begin import resolved
from facelab.runs.prepare import Prepared
from facelab.runs.resume import write_config
from facelab.system import progress
from tests.conftest import TINY, free_port

AUTOENCODER = ("model.latent_dim=8", "model.encoder.widths=[8,16]", "model.decoder.widths=[16,8]")
GAN = ("model.latent_dim=4", "model.generator.widths=[16,8]", "model.discriminator.widths=[8,16]")
WIDTHS = {
    "cnn": ("model.encoder.widths=[8,16]",),
    "vae": AUTOENCODER,
    "gan_conditional": GAN,
}


def make_run(runs_folder: Path, model: str) -> Path:
    """The folder of a run of six people, as training leaves it, with initial weights."""
    GlobalHydra.instance().clear()
    overrides = [f"model={model}", *TINY, *WIDTHS[model], "protocol=classification"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = resolved(check_training(compose("train", overrides)))
    prepared = Prepared.of(config)
    folder = runs_folder / uuid.uuid4().hex
    folder.mkdir(parents=True)
    write_config(config, folder)
    save(prepared.module, prepared.metadata, folder)
    return folder


@dataclass(frozen=True)
class Served:
    """A demo that answers on a port.

    Args:
        subject: what it shows.
        port: of 127.0.0.1.
    """

    subject: Subject
    port: int

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer; `body` is bytes, an iterator of them, or what becomes JSON."""
        kind = {"Content-Type": "application/json"} if isinstance(body, dict) else {}
        sent = json.dumps(body).encode() if isinstance(body, dict) else body
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            connection.request(method, path, sent, {**kind, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: Any) -> Any:
        """The answer to a request that succeeds."""
        status, _, answer = self.ask("POST", path, body)
        assert status == 200, answer
        return json.loads(answer)

    def refused(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and sentence of the answer to a POST that fails."""
        status, _, answer = self.ask("POST", path, body, headers)
        return status, json.loads(answer)["error"]


@contextmanager
def served(subject: Subject) -> Iterator[Served]:
    """Serve in a thread, until the end of the block."""
    port = free_port()
    server, place = make_server(make_app(subject)), reserve(port)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        yield Served(subject, port)
    finally:
        server.should_exit = True
        thread.join(30)


def subject_of(folder: Path) -> Subject:
    """A run as the page shows it."""
    return Subject.of(folder.name, load(folder), progress)
