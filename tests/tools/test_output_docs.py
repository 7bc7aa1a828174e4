"""docs/output.md is what the schemas say."""

from tools.output_docs import PAGE, page


def test_the_reference_of_the_output_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run python -m tools.output_docs"
