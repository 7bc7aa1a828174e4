"""Lines on the screen: what is drawn, what is drawn again, and that text is only text."""

from textual.app import App

from tapring.cli.top_lines import Bar, Lines
from tests.cli.top_screens import drive, lines_of, until


class Screen(App[None]):
    """Lines alone."""

    def __init__(self, widget) -> None:
        super().__init__()
        self.widget = widget
        self.messages: list[object] = []

    def compose(self):
        yield self.widget

    def on_lines_chosen(self, message: Lines.Chosen) -> None:
        self.messages.append(message)

    def close_session(self) -> None:
        """As the program has it."""


def numbered(count: int) -> list:
    return [((f"line {n}", ""),) for n in range(count)]


def test_only_what_changed_is_drawn_again() -> None:
    widget, regions = Lines(has_cursor=False), []

    async def steps(pilot) -> None:
        widget.show(numbered(50))
        await pilot.pause()
        refresh = widget.refresh
        widget.refresh = lambda *changed, **kw: regions.extend(changed) or refresh(*changed, **kw)
        changed = numbered(50)
        changed[3] = (("another", "red"),)
        widget.show(changed)
        widget.show(list(changed))
        await pilot.pause()
        assert lines_of(pilot.app)[2:5] == ["line 2", "another", "line 4"]

    drive(Screen(widget), steps)
    assert [(region.y, region.height) for region in regions] == [(3, 1)]


def test_no_lines_are_asked_for_but_those_that_are_seen() -> None:
    asked = []

    class Lazy(list):
        def __getitem__(self, at):
            asked.append(at)
            return super().__getitem__(at)

    widget = Lines(has_cursor=False)

    async def steps(pilot) -> None:
        widget.show(Lazy(numbered(1000)), end=True)
        await pilot.pause()
        assert lines_of(pilot.app)[-1] == "line 999"
        assert widget.is_at_end

    drive(Screen(widget), steps)
    assert max(len(range(*at.indices(1000))) for at in asked) <= 24


def test_the_cursor_stays_in_sight_and_among_the_lines() -> None:
    widget = Lines(has_cursor=True)

    async def steps(pilot) -> None:
        widget.show(numbered(100))
        widget.move(60)
        await pilot.pause()
        assert "line 60" in lines_of(pilot.app)
        widget.move(1_000_000)
        assert widget.cursor == 99
        widget.move(-1_000_000)
        await pilot.pause()
        assert (widget.cursor, lines_of(pilot.app)[0]) == (0, "line 0")
        widget.move(50)
        widget.show(numbered(3))
        assert (widget.cursor, widget.top) == (2, 0)
        widget.show([])
        assert widget.cursor == 0

    drive(Screen(widget), steps)


def test_a_click_moves_the_cursor_and_another_one_chooses_the_line() -> None:
    widget = Lines(has_cursor=True)
    screen = Screen(widget)

    async def steps(pilot) -> None:
        widget.show(numbered(10))
        await pilot.click(Lines, offset=(2, 4))
        assert (widget.cursor, screen.messages) == (4, [])
        await pilot.click(Lines, offset=(2, 4))
        await until(pilot, lambda: screen.messages)
        await pilot.click(Lines, offset=(2, 20))  # below the lines
        assert widget.cursor == 4

    drive(screen, steps)


def test_long_lines_can_be_read_to_their_end() -> None:
    widget = Lines(has_cursor=False)

    async def steps(pilot) -> None:
        widget.show([(("日本" * 100 + "END", ""),)])
        widget.move_sideways(360)
        await pilot.pause()
        assert lines_of(pilot.app)[0].endswith("END")
        widget.move_sideways(-10_000)
        assert widget.shift == 0

    drive(Screen(widget), steps)


def test_markup_is_text_in_lines_and_in_bars() -> None:
    for widget in (Lines(has_cursor=True), Bar()):
        said = (("[red]x[/] [@click=app.quit]y[/] :smile:", ""),)
        widget.show([said] if isinstance(widget, Lines) else said)

        async def steps(pilot) -> None:
            await pilot.pause()
            assert lines_of(pilot.app)[0] == "[red]x[/] [@click=app.quit]y[/] :smile:"

        drive(Screen(widget), steps)


def test_a_bar_folds_what_is_longer_than_a_line() -> None:
    bar = Bar()

    async def steps(pilot) -> None:
        bar.styles.height = 2
        bar.show((("a" * 80, ""), ("b" * 5, "red")))
        await pilot.pause()
        assert lines_of(pilot.app)[:2] == ["a" * 80, "b" * 5]

    drive(Screen(bar), steps)
