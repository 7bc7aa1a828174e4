"""The files of the page: small, of its own, and without any way to make markup of a text."""

import re
from pathlib import Path

import pytest

import tapring
from tapring.gateway.files import page_files

FOLDER = Path(tapring.__file__).parent / "gateway" / "page"
FILES = sorted(FOLDER.iterdir())
SCRIPTS = sorted(FOLDER.glob("*.js"))


def test_all_files_together_are_small_and_all_are_served():
    assert sum(each.stat().st_size for each in FILES) < 100_000
    assert page_files().keys() == {each.name for each in FILES}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_each_script_says_in_its_first_line_why_it_exists_and_is_short(path):
    lines = path.read_text().splitlines()
    assert re.fullmatch(r"// [A-Z].{20,}", lines[0])
    assert len(lines) <= 400
    assert not [line for line in lines if len(line) > 120]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_loaded_from_elsewhere_or_made_of_text(path):
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert "://" not in text.replace("https://", "://")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function"
        r"|setAttribute\(.(?:on|style|href|src)|srcdoc|<script>|<style| style=| on\w+=",
        text,
    )


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_each_script_uses_what_it_imports_and_imports_what_is_there(path):
    text = path.read_text()
    for names, module in re.findall(r'import (.+?) from "\./(\S+)";', text):
        assert (FOLDER / module).exists()
        for name in re.findall(r"\w+", names.replace("* as", "")):
            assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is not used"
            if "*" not in names:
                assert re.search(
                    rf"export (?:class|const|(?:async )?function) {name}\b",
                    (FOLDER / module).read_text(),
                )
