import hashlib

import pytest

from tasktrace.errors import DataError
from tasktrace.settings.raw import Source, how_to_fetch, missing, verify

CONTENT = b"as published " * 100


@pytest.fixture
def sources(tmp_path):
    made = []
    for name in ("images.gz", "labels.gz"):
        content = name.encode() + CONTENT
        (tmp_path / name).write_bytes(content)
        made.append(Source(tmp_path / name, hashlib.md5(content).hexdigest(), f"https://example.org/data/{name}"))
    return made


def test_files_as_published_pass(sources):
    assert missing(sources) == []
    verify(sources)


def test_missing_files_are_found_in_their_order(sources, tmp_path):
    absent = [Source(tmp_path / name, "", "") for name in ("b.gz", "a.gz")]
    assert missing([absent[0], *sources, absent[1]]) == absent


@pytest.mark.parametrize("damaged", [CONTENT[:-1], b"", CONTENT + b"\0", CONTENT.replace(b"p", b"q", 1)])
@pytest.mark.parametrize("position", [0, 1])
def test_a_truncated_or_altered_file_is_named_with_both_checksums(sources, damaged, position):
    source = sources[position]
    source.path.write_bytes(damaged)
    with pytest.raises(DataError) as caught:
        verify(sources)
    assert str(caught.value) == (
        f"{source.path}: truncated or altered: its MD5 is {hashlib.md5(damaged).hexdigest()}, "
        f"the published one is {source.md5}; delete it and run again, or fetch it anew from {source.url}"
    )


def test_the_way_to_fetch_names_every_address_checksum_and_place(sources):
    lines = how_to_fetch(sources).splitlines()
    assert lines == [
        f"  https://example.org/data/images.gz (MD5 {sources[0].md5})",
        f"    -> {sources[0].path}",
        f"  https://example.org/data/labels.gz (MD5 {sources[1].md5})",
        f"    -> {sources[1].path}",
    ]
    assert how_to_fetch([]) == ""
