"""Trying mutants: near tests one by one, then the others on all that are left, at the same time.

Most mutants are noticed by the tests of their own module within seconds. Of the few that are not,
most are noticed by no test at all, and to find that out takes a run of all tests. So all that are
left are put into one copy, where these tests run once. If one fails, its file runs on halves of
them, and halves of those, until it is known which of them it notices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from .mutations import Mutant

Run = Callable[[list[str], list[Mutant]], str]
"""Runs test files in a copy with these mutants; returns what failed first, or nothing."""

_FILES_AT_ONCE = 6  # a run takes two seconds to start, and is repeated if a test fails


class Trial:
    """``noticed``: by mutant, the test that noticed it; to begin with, those of earlier runs."""

    def __init__(self, run: Run, workers: int, noticed: dict[Mutant, str] | None = None) -> None:
        self.noticed = {} if noticed is None else noticed
        self._run = run
        self._workers = workers

    def near(self, mutants: Iterable[tuple[Mutant, list[str]]]) -> None:
        """Run for each mutant the test files beside it."""
        self._each(lambda each: self._alone(each[1], each[0]), mutants)

    def far(self, mutants: list[Mutant], files: list[str]) -> None:
        """Run ``files`` for those of ``mutants`` that are not noticed yet."""
        parts = [files[i : i + _FILES_AT_ONCE] for i in range(0, len(files), _FILES_AT_ONCE)]
        for group in compatible([each for each in mutants if each not in self.noticed]):
            self._each(partial(self._together, group), parts)

    def _each(self, work: Callable[[Any], object], items: Iterable[Any]) -> None:
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                list(pool.map(work, items))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _alone(self, files: list[str], mutant: Mutant) -> bool:
        failed = self._run(files, [mutant])
        if failed and mutant not in self.noticed:
            self.noticed[mutant] = failed
        return bool(failed)

    def _together(self, group: list[Mutant], files: list[str]) -> None:
        while left := [each for each in group if each not in self.noticed]:
            failed = self._run(files, left)
            if not failed:
                return
            at_fault = [file for file in files if failed.startswith(file)] or files
            if not self._search(at_fault, left):  # it takes several of them
                for each in left:
                    self._alone(files, each)
                return

    def _search(self, files: list[str], group: list[Mutant]) -> bool:
        """Find those of ``group`` that ``files`` notice, by halves; say whether there is one."""
        if len(group) == 1:
            return self._alone(files, group[0])
        half = len(group) // 2
        parts = [part for part in (group[:half], group[half:]) if self._fails(files, part)]
        found = [self._search(files, part) for part in parts]
        return any(found)

    def _fails(self, files: list[str], group: list[Mutant]) -> bool:
        return len(group) == 1 or bool(self._run(files, group))


def compatible(mutants: list[Mutant]) -> Iterator[list[Mutant]]:
    """Yield groups of mutants that can be made at once: no two change the same text."""
    while mutants:
        group: list[Mutant] = []
        for each in mutants:
            if not any(map(each.overlaps, group)):
                group.append(each)
        yield group
        mutants = [each for each in mutants if each not in group]
