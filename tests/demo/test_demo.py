"""`facelab demo` itself: what it refuses, its process, and its page in a browser."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from facelab.demo.people import EnrolledFaces
from facelab.demo.subject import Subject
from facelab.models.trained import load
from facelab.models.transfer import weights_digest
from facelab.system import progress
from tests.conftest import Command, free_port
from tests.demo.made import Served, served
from tests.demo.test_app import face
from tests.galleries.made import ORIGIN, directions
from tests.galleries.made import gallery as made_gallery
from tests.mlflow_page import CHROMIUM, chromium

PROGRAM = [sys.executable, "-c", "from facelab.cli import main; raise SystemExit(main())", "demo"]


def test_a_port_in_use_is_told_before_anything_is_loaded(facelab: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = facelab("demo", "run=none", f"port={port}")
    assert outcome.status == 2
    found = re.fullmatch(rf"Error: port={port} is in use\. Type port=(\d+), which is free\.\n", outcome.error)
    assert found
    with socket.socket() as free:
        free.bind(("127.0.0.1", int(found[1])))


def test_an_unknown_run_is_named(facelab: Command) -> None:
    assert "run=abc: there is no such run, since" in facelab("demo", "run=abc", f"port={free_port()}").error
    assert "run: has no value yet" in facelab("demo").error
    outcome = facelab("demo", f"run={32 * 'a'}", f"runs_folder={300 * 'r'}", f"port={free_port()}")
    assert outcome.status == 2
    assert re.search(r"Error: runs_folder: .* cannot be looked up \(File name too long\)", outcome.error)
    assert "port: expected" in facelab("demo", "run=abc", "port=0").error


def test_a_gallery_of_other_weights_or_of_nobody_is_refused(
    facelab: Command, cnn_folder: Path, gan_folder: Path, tmp_path: Path
) -> None:
    def error(folder: Path) -> str:
        place = f"runs_folder={folder.parent}", f"port={free_port()}"
        outcome = facelab("demo", f"run={folder.name}", "gallery=office", *place)
        assert outcome.status == 2
        return outcome.error

    assert "holds no gallery" in error(cnn_folder)
    made_gallery().write(tmp_path / "office")
    assert f"gallery=office: run {ORIGIN.run} made it, and run {cnn_folder.name} in" in error(cnn_folder)
    own = replace(ORIGIN, weights=weights_digest(cnn_folder), variants=18)
    replace(made_gallery(0), origin=own, threshold=None).write(tmp_path / "office")
    assert "gallery=office: nobody is enrolled" in error(cnn_folder)
    replace(made_gallery(), origin=replace(ORIGIN, weights=weights_digest(gan_folder))).write(tmp_path / "office")
    assert "recognises none. Remove gallery=." in error(gan_folder)


@pytest.mark.slow
def test_the_page_is_served_until_interrupted(cnn_folder: Path) -> None:
    run, port = [f"run={cnn_folder.name}", f"runs_folder={cnn_folder.parent}"], free_port()
    command = [*PROGRAM, *run, f"port={port}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        assert line.strip() == f"Demo of run {cnn_folder.name}: http://127.0.0.1:{port}/   (Ctrl-C ends it)"
        assert b"facelab demo" in urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).read()
        second = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert second.returncode == 2
        assert re.fullmatch(rf"Error: port={port} is in use\. Type port=\d+, which is free\.\n", second.stderr)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs a browser: no {CHROMIUM} (apt-get install chromium)")
def test_a_face_is_dropped_and_named_in_a_browser(cnn: Served, vae: Served, gan: Served, tmp_path: Path) -> None:
    Image.fromarray(face(0).squeeze(-1)).save(tmp_path / "somebody.png")
    (tmp_path / "notes.jpg").write_text("text")
    with chromium() as browser:
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{cnn.port}/")
        page.get_by_label("Already cropped").check()
        page.get_by_label("Choose photos").set_input_files([tmp_path / "somebody.png", tmp_path / "notes.jpg"])
        first, second = (page.get_by_role("article").nth(i) for i in (0, 1))
        expect(first.get_by_role("list", name="Nearest, with score").get_by_role("listitem")).to_have_count(3)
        expect(first.get_by_role("listitem").filter(has_text=re.compile(r"^s\d"))).to_have_count(3)
        expect(second.get_by_role("alert")).to_contain_text("This file is not an image")
        page.get_by_role("button", name="Remove all photos").click()
        expect(page.get_by_role("article")).to_have_count(0)

        page.goto(f"http://127.0.0.1:{vae.port}/")
        page.get_by_label("Already cropped").check()
        page.get_by_label("Choose photos").set_input_files(tmp_path / "somebody.png")
        expect(page.get_by_label("Face", exact=True)).to_have_value("1")
        page.get_by_role("slider", name=re.compile("^1 ")).first.focus()
        with page.expect_response("**/api/moved") as moved:  # initial weights decode almost alike, so no other picture
            page.keyboard.press("End")
        assert moved.value.status == 200

        page.goto(f"http://127.0.0.1:{gan.port}/")
        page.get_by_role("button", name="s2").first.click()
        page.get_by_role("button", name="s3").first.click()
        expect(page.get_by_role("img", name="50 % of the way")).to_be_visible()
        assert not problems


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs a browser: no {CHROMIUM} (apt-get install chromium)")
def test_nobody_is_named_once_the_last_person_is_removed_in_a_browser(cnn_folder: Path, tmp_path: Path) -> None:
    trained = load(cnn_folder)
    dim = trained.module.embed(torch.zeros(1, 1, 32, 32)).shape[1]
    made = made_gallery()
    others = replace(made.development, embeddings=directions(40, dim))
    made = replace(made, embeddings=directions(5, dim), development=others)
    made.write(tmp_path / "office")
    Image.fromarray(face(0).squeeze(-1)).save(tmp_path / "somebody.png")
    enrolled = EnrolledFaces(tmp_path / "office")
    with served(Subject.of(cnn_folder.name, trained, progress, enrolled)) as demo, chromium() as browser:
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{demo.port}/")
        page.get_by_label("Already cropped").check()
        page.get_by_label("Choose photos").set_input_files(tmp_path / "somebody.png")
        newest = page.get_by_role("article").nth(0)
        expect(newest.get_by_role("list", name="Nearest, with score").get_by_role("listitem")).to_have_count(3)
        nobody = replace(made, names=[], images=[], thumbnails=[], embeddings=directions(0, dim), threshold=None)
        nobody.write(tmp_path / "office")
        page.get_by_label("Choose photos").set_input_files(tmp_path / "somebody.png")
        expect(page.get_by_role("article")).to_have_count(2)
        expect(newest).to_contain_text("Nobody known")
        expect(newest.get_by_role("list", name="Nearest, with score")).to_have_count(0)
        expect(page.get_by_role("alert")).to_have_count(0)
        page.reload()
        expect(page.get_by_text("Nobody is enrolled now, so every face is of nobody known.")).to_be_visible()
        assert not problems
