"""The types of parameters work with each click from the oldest that pyproject.toml allows."""

import subprocess
import sys

import click

from tapring.cli.generic import Choice, ParamType


def test_a_type_of_parameter_can_be_generic_whether_or_not_clicks_is() -> None:
    assert issubclass(ParamType[int], click.ParamType)
    assert issubclass(Choice[str], click.Choice)


def test_no_command_needs_a_click_whose_types_are_generic() -> None:
    code = """
import pkgutil
from importlib import import_module
import click
from click.shell_completion import CompletionItem

def refuse(item):
    raise TypeError("not generic, as in click 8.1")

for each in (click.ParamType, click.Choice, CompletionItem):
    each.__class_getitem__ = refuse
import tapring.cli
for module in pkgutil.iter_modules(tapring.cli.__path__):
    import_module(f"tapring.cli.{module.name}")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
