"""YAML files of users and run folders are bounded before anything is made of them."""

from pathlib import Path

import pytest

from facelab.config.load import MOST_BYTES, MOST_DIGITS, MOST_VALUES, check_yaml, load_yaml
from facelab.errors import ConfigError
from facelab.models.trained import load
from facelab.runs.resume import read_config
from tests.conftest import Command


def _laughs() -> str:
    lines, before = ["a: &a [x, x, x, x, x, x, x, x, x, x]"], "a"
    for name in "bcdefghi":
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
        before = name
    return "\n".join(lines)


ATTACKS = {
    "laughs": (_laughs(), f"{MOST_VALUES:,} values"),
    "merged": (_laughs() + "\nj: {<<: [" + ", ".join(["{k: *i}"] * 10) + "]}", f"{MOST_VALUES:,} values"),
    "long text repeated": (f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 100)}]", f"{MOST_VALUES:,} values"),
    "itself": ("a: &a\n  b: *a\n", "line 2"),
    "number": ("a: 1\nb: " + "9" * 5000, f"line 2: a number of 5000 digits; at most {MOST_DIGITS}"),
    "sixties": ("a: " + "1:" * 3000 + "1", "digits"),
    "tagged number": ("a: !!int '" + "9" * 5000 + "'", "digits"),
    "deep": ("a: " + "[" * 5000, "nested deeper"),
    "large": ("a: b\n" + "# x\n" * MOST_BYTES, f"{MOST_BYTES // 1024} KiB"),
    "object": ("a: !!python/object/apply:os.system [true]\n", "line 1"),
}
BROKEN = {
    "tab": ("a:\n\tb: 1\n", "line 2"),
    "bracket": ("a: 1\nb: [1, 2\nc: 3\n", "line 3"),
    "list": ("- a\n", "key: value"),
}


@pytest.mark.parametrize("name", [*ATTACKS, *BROKEN])
def test_what_exceeds_a_limit_is_refused_with_file_and_reason(tmp_path: Path, name: str) -> None:
    text, says = {**ATTACKS, **BROKEN}[name]
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        check_yaml(tmp_path / "x.yaml")
    assert str(tmp_path / "x.yaml") in str(caught.value)
    assert says in str(caught.value)


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError, match=r"line 2: not UTF-8"):
        check_yaml(tmp_path / "latin.yaml")
    with pytest.raises(ConfigError, match="no regular file"):
        check_yaml(tmp_path)
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        check_yaml(tmp_path / "nowhere.yaml")


def test_what_people_write_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a {b: 1, c: [x, y]}\nd: *a\ne: {<<: *a, b: 2}\nf: 18446744073709551615\n")
    one = {"b": 1, "c": ["x", "y"]}
    assert load_yaml(tmp_path / "x.yaml") == {"a": one, "d": one, "e": {**one, "b": 2}, "f": 2**64 - 1}
    (tmp_path / "x.yaml").write_text("")
    assert load_yaml(tmp_path / "x.yaml") == {}


@pytest.mark.parametrize("name", ["laughs", "number", "tab"])
def test_every_reader_of_yaml_refuses_it(facelab: Command, tmp_path: Path, name: str) -> None:
    text = {**ATTACKS, **BROKEN}[name][0]
    for path in ("conf/model/x.yaml", "experiments/own/x.yaml", "run/config.yaml"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    for arguments, path in ((["model=x"], "conf/model/x.yaml"), (["+own=x"], "experiments/own/x.yaml")):
        outcome = facelab("train", *arguments)
        assert outcome.status == 2
        assert outcome.error.startswith(f"Error: {tmp_path / path}")
        assert "Traceback" not in outcome.error
    for reader in (load, read_config):
        with pytest.raises(ConfigError, match=r"run/config\.yaml"):
            reader(tmp_path / "run")


def test_a_defaults_list_with_null_is_named(facelab: Command, tmp_path: Path) -> None:
    (tmp_path / "experiments" / "own").mkdir(parents=True)
    file = tmp_path / "experiments" / "own" / "x.yaml"
    file.write_text("# @package _global_\ndefaults:\n  - override /split: null\n")
    assert "split: is required and missing" in facelab("train", "+own=x").error
    file.write_text("# @package _global_\ndefaults:\n  - 3\n")
    assert "./experiments" in facelab("train", "+own=x").error
    file.write_text("# @package _global_\nsplit: null\n")
    assert "split: expected a Split, got None" in facelab("train", "+own=x").error
    file.write_text("# @package _global_\ndefaults:\n  - override /hydra/launcher: joblib\n")
    assert "executor=local" in facelab("train", "+own=x").error
