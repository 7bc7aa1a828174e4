"""The page's files: all there, of known types, and small."""

import re

from tapring.gateway.files import INDEX, page_files


def test_the_page_loads_only_files_that_are_there() -> None:
    files = page_files()
    assert INDEX in files
    text = b"".join(each.body for each in files.values()).decode()
    for name in re.findall(r"""["'](?:/page/|\./)([\w.-]+)["']""", text):
        assert name in files
    assert {each.media_type.partition(";")[0] for each in files.values()} <= {
        "text/html",
        "text/css",
        "text/javascript",
        "image/svg+xml",
    }


def test_the_page_is_under_100_kb_and_asks_no_other_machine() -> None:
    files = page_files()
    assert sum(len(each.body) for each in files.values()) < 100_000
    for each in files.values():
        assert not re.search(rb"(?:src|href|import|fetch|url)\W{1,3}https?:", each.body)
