"""Pages of the documentation that are made from the code when MkDocs builds the site.

- reference/configuration: the settings of a run, from the fields of `iddpm_tf.config`.
- reference/commands: what each command prints for `--help`.
- reference/python: the public names; and one page per package, from the docstrings.
- files of other folders that a page links to, such as configs/README.md.

Importing what the pages are made from takes no TensorFlow.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import importlib
import io
import os
import pathlib
import pkgutil
import posixpath
import re
import typing
from typing import Any
from unittest import mock

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

import iddpm_tf
from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.settings import arguments
from trainers.cli import listing

ROOT = pathlib.Path(__file__).parents[1]

# Files outside docs/ that are pages of the site, by their paths.
_INCLUDED = {
  "CONTRIBUTING.md": ("Contributing", "contributing.md"),
  "CHANGELOG.md": ("Changelog", "changelog.md"),
  "configs/README.md": ("Flagfiles", "flagfiles.md"),
  "trainers/reproduction/README.md": ("Experiments in detail", "experiments.md"),
  "benchmarks/README.md": ("Benchmarks", "benchmarks.md"),
}
_LINK = re.compile(r"\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
  """Adds the generated pages to the navigation."""
  packages = [{name: _package_page(name)} for name in _packages()]
  reference = [
    {"Settings of a run": "reference/configuration.md"},
    {"Commands": "reference/commands.md"},
    {"The Python API": "reference/python.md"},
    {"Modules": packages},
  ]
  tasks, development = _section(config.nav, "Tasks"), _section(config.nav, "Development")
  position = tasks.index({"Reproduce the paper": "reproduce.md"}) + 1
  tasks.insert(position, _entry("trainers/reproduction/README.md"))
  tasks.append(_entry("configs/README.md"))
  development += map(_entry, ("CONTRIBUTING.md", "benchmarks/README.md", "CHANGELOG.md"))
  config.nav.append({"Reference": reference})
  return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
  """Adds the generated pages."""
  pages = {
    "reference/configuration.md": configuration_page(),
    "reference/commands.md": commands_page(),
    "reference/python.md": python_page(),
  }
  pages |= {_package_page(name): package_page(name) for name in _packages()}
  for source, (_, target) in _INCLUDED.items():
    pages[target] = (ROOT / source).read_text(encoding="utf-8")
  for path, content in pages.items():
    files.append(File.generated(config, path, content=content))
  return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
  """Replaces links to files outside docs/ by links to their pages in the site."""
  path = page.file.src_uri
  included = {target: source for source, (_, target) in _INCLUDED.items()}
  # The path of the page in the repository, to which its links are relative.
  origin = included.get(path, f"docs/{path}")

  def replace(match: re.Match[str]) -> str:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match["target"]))
    if target in _INCLUDED:
      in_site = _INCLUDED[target][1]
    elif target.startswith("docs/"):
      in_site = target.removeprefix("docs/")
    else:
      return match[0]
    relative = posixpath.relpath(in_site, posixpath.dirname(path) or ".")
    return f"]({relative}{match['anchor'] or ''})"

  return _LINK.sub(replace, markdown)


def configuration_page() -> str:
  """Returns the page of the settings of a run: one table per section."""
  lines = [
    "# Settings of a run",
    "",
    "Each setting is a flag of `python -m trainers.train`, a line of a flagfile, a keyword of "
    "`iddpm_tf.Config.from_settings`, and an entry of `config.json` in a model folder. A setting "
    "in *italics* may change when a run is resumed. A run refuses other values for the rest.",
  ]
  for name, section in config_lib.sections().items():
    lines += ["", f"## {name.capitalize()}", "", section.__doc__.strip().split("\n")[0], ""]
    lines += ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for field in settings.by_name(section).values():
      style = "*" if field.metadata["changeable"] or field.metadata.get("extendable") else ""
      meaning = field.metadata["help"]
      if choices := settings.choices_of(field):
        meaning += f". One of {', '.join(f'`{choice}`' for choice in choices)}"
      meaning = f"{meaning[0].upper()}{meaning[1:]}."
      cells = (f"{style}`{field.name}`{style}", _kind(field), _default(field), meaning)
      lines.append(f"| {' | '.join(cells)} |")
  return "\n".join([*lines, ""])


def commands_page() -> str:
  """Returns the page of the commands, with the text of their `--help`."""
  lines = [
    "# Commands",
    "",
    "`python -m trainers` lists the commands. This is what each prints for `--help`. Every command "
    "that takes settings of a run accepts [all of them](configuration.md), because flagfiles hold "
    "them; `--helpfull` lists them.",
  ]
  for name in listing.commands():
    command = importlib.import_module(f"trainers.{name}").COMMAND
    lines += ["", f"## {name}", "", "```text", _help(command, name), "```"]
  return "\n".join([*lines, ""])


def python_page() -> str:
  """Returns the page of the public names."""
  lines = [
    "# The Python API",
    "",
    "Importing `iddpm_tf` takes no TensorFlow. A name is loaded when it is first used.",
    "",
  ]
  for name in sorted(iddpm_tf.__all__, key=_first_functions_then_classes):
    lines += [f"::: iddpm_tf.{name}", ""]
  return "\n".join(lines)


def package_page(package: str) -> str:
  """Returns the page of a package: its docstring, and the modules with their docstrings."""
  lines = [f"# `{package}`", ""]
  for module in [package, *_modules(package)]:
    lines.append(f"::: {module}")
    if module == package and (ROOT / package.replace(".", "/")).is_dir():
      # The names that a package takes from its modules are described there.
      lines += ["    options:", "      show_root_heading: false", "      members: false"]
    lines.append("")
  return "\n".join(lines)


def _packages() -> list[str]:
  """Returns the packages, and the modules that stand beside them."""
  folder = [str(ROOT / "iddpm_tf")]
  names = [f"iddpm_tf.{module.name}" for module in pkgutil.iter_modules(folder)]
  return [name for name in names if name != "iddpm_tf.api"]


def _modules(package: str) -> Iterator[str]:
  """Yields the public modules of a package and of its sub-packages."""
  for module in pkgutil.iter_modules([str(ROOT / package.replace(".", "/"))]):
    if not module.name.startswith("_"):
      name = f"{package}.{module.name}"
      if module.ispkg:
        yield from _modules(name)
      else:
        yield name


def _package_page(name: str) -> str:
  return f"reference/{name}.md"


def _entry(source: str) -> dict[str, str]:
  title, target = _INCLUDED[source]
  return {title: target}


def _section(nav: list[dict[str, Any]], title: str) -> list[Any]:
  return next(entry[title] for entry in nav if title in entry)


def _first_functions_then_classes(name: str) -> tuple[bool, str]:
  return name[0].isupper(), name


def _kind(field: dataclasses.Field[Any]) -> str:
  """Returns the type of a setting as text, such as `tuple[int, ...]`."""
  kind = arguments.kind_of(field)
  return f"`{kind if typing.get_args(kind) else kind.__name__}`"


def _default(field: dataclasses.Field[Any]) -> str:
  return "unset" if field.default is None else f"`{field.default!r}`"


def _help(command: Any, name: str) -> str:
  """Returns what a command prints for `--help`."""
  output = io.StringIO()
  with contextlib.redirect_stdout(output), mock.patch.dict(os.environ, COLUMNS="100"):
    command.run([name, "--help"])
  return output.getvalue().rstrip()
