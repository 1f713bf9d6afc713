"""Descriptions for MLflow's page."""

import shlex

import pytest

from facelab.tracking import RunPage, note


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b *c* [d](e) |", "a\\_b \\*c\\* \\[d\\](e) \\|"),
        ("<b>1 & 2</b>", "&lt;b&gt;1 &amp; 2&lt;/b&gt;"),
        ("@anna a@b.c", "\\@anna a@b.c"),  # a link to a profile; an address is left
        (":smile: 3:4 at 5:6", "\\:smile: 3:4 at 5:6"),
        ("two\n lines", "two lines"),
    ],
)
def test_text_is_not_taken_for_markdown(text: str, written: str) -> None:
    assert note.plain(text) == written


def test_a_table_keeps_its_cells() -> None:
    assert note.table([["", "a|b"], ["x", "1"]]).split("\n") == [
        "| &emsp; | a\\|b |",
        "| --- | --- |",
        "| x&emsp; | 1 |",
    ]


def test_code_is_fenced_by_more_backticks_than_it_has() -> None:
    assert note.inline_code("a b") == "`a b`"
    assert note.inline_code("a ``b`") == "``` a ``b` ```"


def test_a_long_command_goes_on_in_further_lines_and_stays_the_same_command() -> None:
    assert note.command_block("python train.py 'name=a b'") == "    python train.py 'name=a b'"
    words = ["python", "train.py", *(f"protocol.verification.far=[{number}]" for number in range(9)), "name=it's `x`"]
    lines = note.command_block(shlex.join(words)).split("\n")
    assert len(lines) > 4
    assert all(line.startswith("    ") and len(line) <= 80 for line in lines)
    assert [word for word in shlex.split("\n".join(lines)) if word != "\n"] == words


def test_addresses_are_relative_to_the_page() -> None:
    page = RunPage("f" * 32, "7")
    assert page.address == f"#/experiments/7/runs/{'f' * 32}"
    assert page.picture("pictures/a.png", "a_b", "pictures/small/a.png") == (
        f"[![a\\_b](get-artifact?path=pictures%2Fsmall%2Fa.png&run_uuid={'f' * 32})]"
        f"(#/experiments/7/runs/{'f' * 32}/artifacts/pictures/a.png)"
    )
    assert RunPage("f" * 32, "").viewer("a.png") == f"#/runs/{'f' * 32}"


def test_blocks_of_the_middle_give_way_first_and_nothing_exceeds_the_limit() -> None:
    whole = note.within_limit(["first"], ["one", "", "two"], ["last"])
    assert whole == "first\n\none\n\ntwo\n\nlast"
    large = "x" * 3000
    assert note.within_limit(["first"], ["one", large, large], ["last"]) == f"first\n\none\n\n{large}\n\nlast"
    assert len(note.within_limit([large, large], [], ["last"])) == note.CHARACTERS


def test_a_command_is_kept_without_the_password_of_an_address() -> None:
    command = "python train.py tracking=server 'tracking.uri=https://me:secret@host:5000' model=cnn"
    assert note.without_passwords(command) == command.replace("me:secret@", "")
    assert note.without_passwords("data.root=/a@b/c") == "data.root=/a@b/c"
