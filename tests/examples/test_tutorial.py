"""The tutorial is true: each quote, each session in a shell, each trace.

``python -m tests.examples.tutorial`` writes what really happens into the text.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES
from tests.examples.tutorial import (
    TEXT,
    Lesson,
    agrees,
    desk,
    lessons,
    steps,
    watched,
)

LESSONS = lessons()

#: What is told of the time that requests take is true on an idle machine.
ATTEMPTS = 3


def _params(kind: str) -> list[object]:
    """Return the lessons that have blocks of a kind; those that mount are marked."""
    return [
        pytest.param(lesson, id=lesson.program.stem, marks=_marks(lesson))
        for lesson in LESSONS
        if lesson.blocks(kind)
    ]


def _marks(lesson: Lesson) -> list[pytest.MarkDecorator]:
    marks = [] if "testing" in lesson.program.name else [pytest.mark.mount]
    if "raw" in lesson.program.name:
        no_fusermount = shutil.which("fusermount3") is None
        marks.append(pytest.mark.skipif(no_fusermount, reason="no fusermount3"))
    return marks


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.program.stem)
def test_a_lesson_has_an_idea_of_each_and_something_to_try(lesson: Lesson) -> None:
    assert lesson.program in lesson.files
    assert lesson.text.count("\n**FUSE: ") == lesson.text.count("\n**trio: ") == 1
    assert lesson.text.count("\n*To try:* ") == 1
    assert lesson.blocks("console") or lesson.blocks("console watch")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.program.stem)
def test_what_a_lesson_quotes_is_in_a_program_that_it_links_to(lesson: Lesson) -> None:
    programs = [path.read_text() for path in lesson.files]
    for block in lesson.blocks("python"):
        indented = [textwrap.indent(block, " " * depth) for depth in (0, 4, 8, 12)]
        assert any(quote in text for quote in indented for text in programs), block


def test_every_lesson_is_in_the_text_and_every_link_leads_somewhere() -> None:
    text = re.sub(r"^```.*?^```$", "", TEXT.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https:)([^)#]+)\)", text)
    anchors = re.findall(r"\]\(#([^)]+)\)", text)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)

    assert all((EXAMPLES / link).exists() for link in links)
    assert {f"lessons/{path.name}" for path in EXAMPLES.glob("lessons/[0-9]*.py")} <= {
        *links
    }
    assert anchors == [_anchor(heading) for heading in headings[: len(LESSONS)]]


def _anchor(heading: str) -> str:
    return heading.lower().replace(".", "").replace(" ", "-")


@pytest.mark.parametrize("lesson", _params("console"))
def test_a_shell_prints_what_a_lesson_shows(lesson: Lesson, tmp_path: Path) -> None:
    for attempt in range(ATTEMPTS):
        place = tmp_path / str(attempt)
        place.mkdir()
        with desk(place) as run:
            seen = [
                (command, shown, run(command))
                for block in lesson.blocks("console")
                for command, shown in steps(block)
            ]
        wrong = [
            (it, really) for it, shown, really in seen if not agrees(shown, really)
        ]
        if not wrong:
            return

    pytest.fail(f"{wrong[0][0]} prints\n{wrong[0][1]}")


@pytest.mark.parametrize("lesson", _params("console watch"))
def test_the_kernel_sends_what_a_lesson_shows(lesson: Lesson, tmp_path: Path) -> None:
    for number, block in enumerate(lesson.blocks("console watch")):
        shown = dict(enumerate(steps(block)))
        for attempt in range(ATTEMPTS):
            place = tmp_path / f"{number}-{attempt}"
            place.mkdir()
            seen = list(watched(block, place))
            wrong = [
                it
                for (_, told), it in zip(shown.values(), seen, strict=True)
                if not agrees(told, it[1])
            ]
            if not wrong:
                break
        else:
            pytest.fail(f"for {wrong[0][0]} the kernel sends\n{wrong[0][1]}")


@pytest.mark.parametrize(
    ("shown", "seen", "same"),
    [
        ("one\ntwo\n", "one\ntwo\n", True),
        ("one\n", "one\ntwo\n", False),
        ("one ... three\n", "one two three\n", True),
        ("one ...\n", "one\ntwo\n", False),
        ("...\nthree\n", "one\ntwo\nthree\n", True),
        ("1... seconds\n", "1.25 seconds\n", True),
        ("1... seconds\n", "2.25 seconds\n", False),
        ("", "READ\n", False),
    ],
)
def test_dots_stand_for_what_is_different_each_time(
    shown: str, seen: str, same: bool
) -> None:
    assert agrees(shown, seen) is same
