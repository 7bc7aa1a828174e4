"""The repository: its modules, which tests try which module, which mutants are equivalent."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from .mutations import Mutant, Mutations

PACKAGES = ("engine", "wire", "events", "consumer")
GROUND = ("thrown_in", "token")
TESTS = ("package", "promises", "all")
# Servers wait for workers that a mutant has stopped, so each step of a search would take a minute.
_LEFT_OUT = ("test_servers.py",)


@dataclass(frozen=True, slots=True)
class Project:
    """The repository: its modules, and which tests try which module."""

    root: Path

    def modules(self, wanted: list[str]) -> dict[str, Path]:
        """The modules that are tried, or those of them that are ``wanted``, by name."""
        package = self.root / "tapring"
        paths = [package / f"{each}.py" for each in GROUND]
        paths += sorted(path for each in PACKAGES for path in (package / each).glob("*.py"))
        found = {}
        for path in filter(Path.exists, paths):
            name = ".".join(path.relative_to(package).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
        unknown = [
            each for each in wanted if not any(f"{name}.".startswith(f"{each}.") for name in found)
        ]
        if unknown:
            sys.exit(f"mutants: no such module: {' '.join(unknown)}")
        return {
            name: path
            for name, path in found.items()
            if not wanted or any(f"{name}.".startswith(f"{each}.") for each in wanted)
        }

    def mutants(self, wanted: list[str]) -> list[Mutant]:
        """All changes that can be made to these modules."""
        modules = self.modules(wanted)
        return [
            mutant
            for name, path in modules.items()
            for mutant in Mutations(name, path.read_bytes()).found
        ]

    def equivalents(self) -> dict[tuple[str, str, str, str], str]:
        """The changes listed in ``tools/equivalent_mutants.txt``, and why each is equivalent."""
        path = self.root / "tools" / "equivalent_mutants.txt"
        found = {}
        for entry in re.split(r"\n\s*\n", path.read_text()) if path.exists() else ():
            lines = [line for line in entry.strip().splitlines() if not line.startswith("#")]
            if lines:
                (module, function), before, after = lines[0].split(), lines[1], lines[2]
                key = module, function, before.removeprefix("- "), after.removeprefix("+ ")
                found[key] = " ".join(lines[3:])
        return found

    def near(self, module: str) -> list[str]:
        """The test files of a module and of its package, the narrowest first."""
        tests = self.root / "tests"
        package, _, name = module.partition(".")
        paired = tests / package / f"test_{name or 'init'}.py"
        if module in GROUND:  # the engine relies on it most
            package, paired = "engine", tests / f"test_{module}.py"
        files = [paired] if paired.exists() else []
        return self._names([*files, *sorted((tests / package).rglob("test_*.py"))])

    def far(self, depth: str) -> list[str]:
        """The test files that all modules share; ``depth`` is one of TESTS."""
        tests = self.root / "tests"
        files = sorted((tests / "promises").rglob("test_*.py")) if depth != "package" else []
        files += sorted(tests.rglob("test_*.py")) if depth == "all" else []
        return self._names([each for each in files if each.name not in _LEFT_OUT])

    def _names(self, paths: list[Path]) -> list[str]:
        return [str(path.relative_to(self.root)) for path in dict.fromkeys(paths)]
