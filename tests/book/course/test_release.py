"""What students get of the real exercises is what nbgrader makes of them, and no more."""

from __future__ import annotations

import nbformat
import pytest

from ibbook.book.course import exercises, release, variants
from ibbook.book.folders import BookError
from tests.book.course import leaks

SOURCES = exercises.exercises()


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with every chapter's exercises."""
    folder = tmp_path_factory.mktemp("course")
    for source in SOURCES:
        release.release(source, folder, ["ann"])
    return folder


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_nbgrader_releases_what_the_site_shows(course, source):
    theirs = nbformat.read(release.released(course, source.name), as_version=4)
    ours = exercises.released(exercises.notebook(source))
    assert [(c.id, c.source) for c in theirs.cells] == [(c.id, c.source) for c in ours.cells]


def test_nothing_that_students_get_tells_a_solution(course):
    secret = set().union(*map(leaks.secrets, SOURCES))
    assert len(secret) > 10 * len(SOURCES)
    for folder in ("release", "variants"):
        assert leaks.found(course / folder, secret) == {}
    assert leaks.found(course / "source", secret).keys() == secret
    released = {p.relative_to(course) for p in (course / "release").rglob("*") if p.is_file()}
    assert len(released) == len(SOURCES)  # a notebook each, and no other file of the source


def test_a_seed_is_the_students_own_and_does_not_tell_whose_it_is(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir(), second.mkdir()
    seeds = [variants.seed(first, name) for name in ("ann", "bob", "ann")]
    assert seeds[0] == seeds[2] != seeds[1]
    assert variants.seed(second, "ann") != seeds[0]
    assert (first / variants.KEY).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nann\n", "must be CSV with a column id"),
        ("id\nann\nann\n", "ann more than once"),
        ("id\n../ann\n", r"line 2: id must be letters, digits, .* got '../ann'"),
        ("id\n\n,\n", "line 2: id must be"),
    ],
)
def test_a_roster_that_cannot_serve_is_refused(tmp_path, text, message):
    path = tmp_path / "roster.csv"
    path.write_text(text)
    with pytest.raises(BookError, match=message):
        variants.roster(path)
