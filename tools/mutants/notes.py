"""The mutants that tests have noticed, kept in a file: a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from .mutations import Mutant


class Notes(dict[Mutant, str]):
    """By mutant, the test that noticed it. Each is written to ``path`` as it is set, if not None.

    A note counts for as long as its module is what it was. What no test noticed is not kept: the
    next run may have more tests.
    """

    def __init__(self, root: Path, mutants: list[Mutant], path: Path | None) -> None:
        super().__init__()
        self._package = root / "tapring"
        self._path = path
        self._digests: dict[str, str] = {}
        if path is not None and path.exists():
            noted = dict(json.loads(line) for line in path.read_text().splitlines())
            known = [each for each in mutants if self._name(each) in noted]
            super().update({each: noted[self._name(each)] for each in known})

    def __setitem__(self, mutant: Mutant, test: str) -> None:
        super().__setitem__(mutant, test)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([self._name(mutant), test]) + "\n")

    def _name(self, mutant: Mutant) -> str:
        """What tells a mutant from all others, of other versions of its module, too."""
        module = mutant.module
        if module not in self._digests:
            source = self._package.joinpath(*module.split(".")).with_suffix(".py")
            self._digests[module] = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
        return f"{module} {self._digests[module]} {mutant.start} {mutant.end} {mutant.text}"
