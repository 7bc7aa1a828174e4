"""Scrapes as Prometheus makes them: text that prometheus_client's own parsers read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from tapring.gateway.metrics import registry, text
from tapring.gateway.tally import Tally

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Scrape:
    """What one scrape has exposed: every sample, each at most once."""

    def __init__(self, exposed: str, parse: Callable[[str], Any] = plain) -> None:
        lines = [each for each in exposed.splitlines() if each and not each.startswith("#")]
        series = [each.rpartition(" ")[0] for each in lines]
        assert len(set(series)) == len(series), "a series comes twice"  # a parser would not say so
        self.families = list(parse(exposed))
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in self.families:
            for sample in family.samples:
                self.samples[sample.name, frozenset(sample.labels.items())] = sample.value
        assert len(self.samples) == len(series)

    def of(self, metric: str, **labels: object) -> list[float]:
        """The values of a metric, without the prefix, whose labels are, among others, these."""
        wanted = {(label, str(value)) for label, value in labels.items()}
        return [
            value
            for (name, there), value in self.samples.items()
            if name == f"tapring_{metric}" and wanted <= there
        ]

    def one(self, metric: str, **labels: object) -> float:
        (value,) = self.of(metric, **labels)
        return value

    def values_of(self, label: str) -> set[str]:
        """Every value that a label has."""
        return {value for _, there in self.samples for name, value in there if name == label}


def scrape(engine: str, accept: str = "") -> Scrape:
    """Scrape the engines whose names begin so; other tests have theirs."""
    exposed, content_type = text(registry(lambda name: name.startswith(engine), Tally()), accept)
    parse = openmetrics if content_type.startswith("application/openmetrics-text") else plain
    return Scrape(exposed.decode(), parse)


class Exported(NamedTuple):
    """A metric as the exposition has it: its full name, its type, its labels and its help."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


def exported(found: Scrape) -> Iterator[Exported]:
    """Every metric of which there is a sample."""
    for family in found.families:
        names = {sample.name for sample in family.samples}
        labels = {tuple(sample.labels) for sample in family.samples}
        if names:
            ((name,), (of,)) = names, {tuple(sorted(each)) for each in labels}
            yield Exported(name, family.type, of, family.documentation)
