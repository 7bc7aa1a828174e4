"""How severe an event is, whichever logger wrote it."""

import pytest

from tapring.files.levels import level_of


@pytest.mark.parametrize(
    ("event", "level"),
    [
        ({"level": "error"}, "error"),  # structlog, zap, slog
        ({"Level": "Warning"}, "warning"),  # Serilog
        ({"levelname": "CRITICAL", "levelno": 50}, "fatal"),  # python-json-logger
        ({"levelno": 30}, "warning"),
        ({"level": 30}, "info"),  # pino, bunyan
        ({"level": 60}, "fatal"),
        ({"level": 3, "short_message": "x"}, "error"),  # GELF
        ({"level": 3}, None),  # of a game, say
        ({"priority": 1}, None),  # of a job, say
        ({"priority": 10}, None),
        ({"PRIORITY": "6"}, "info"),  # journald
        ({"severity": 0}, "fatal"),
        ({"severity": "NOTICE"}, "info"),  # Google Cloud
        ({"severityText": "WARN", "severityNumber": 13}, "warning"),  # OpenTelemetry
        ({"severity_number": 17}, "error"),
        ({"severity_number": 1}, "trace"),
        ({"log.level": "debug"}, "debug"),  # Elastic Common Schema
        ({"log": {"level": "fatal"}}, "fatal"),
        ({"lvl": "E"}, "error"),
        ({"level": "strange", "severity": "error"}, "error"),
        ({"level": "strange"}, None),
        ({"level": 35}, None),
        ({"level": True}, None),
        ({"level": None}, None),
        ({"level": 1.5}, None),
        ({"level": "9" * 5000}, None),
        ({"level": "\u0663"}, None),
        ({"level": -1, "severity_number": 25}, None),
        ({"priority": "high"}, None),
        ({"log": "level"}, None),
        ({}, None),
    ],
)
def test_a_level_is_found(event, level) -> None:
    found = level_of(event, {key.lower(): key for key in event})
    assert (found.name if found else None) == level
    if found:
        assert found.key in event
