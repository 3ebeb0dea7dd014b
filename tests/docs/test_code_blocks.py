"""Every code block of the README and of the documentation runs.

The blocks of a page run in their order. Python blocks share one namespace. Of shell blocks, cheap
commands run in this process, with small sizes. A simple function takes the place of the UNet. The
other commands run until they would import TensorFlow, which they do once all flags are known to be
right.
"""

import contextlib
import importlib
import io
import pathlib
import re

import pytest

from iddpm_tf.serving import clients
from tests.docs import code_blocks
from tests.docs import conftest
from trainers.cli import command
from trainers.cli import listing

ROOT = code_blocks.ROOT
PAGES = code_blocks.pages()
# Programs of others, which the tests do not run.
OTHER_PROGRAMS = (".", "curl", "docker", "pip", "python3", "tensorboard")
# Flags in the text that are of other programs.
OTHER_FLAGS = (
  "no-deps",
  "wheel-dir",
  "index-url",
  "golden_dir",
  "init",
  "enable_batching",
  "model_path",
  "classifier_path",
  "use_new_attention_order",
  "use_fp16",
  "timestep_respacing",
  "signal",
  "requeue",
)
# Commands that run, with flags that make them small, and the pages where they do.
CHEAP = {
  "prepare_data": ((), ("data.md",)),
  "sample": (("--num_samples=10", "--batch_size=10"), ("README.md", "super-resolution.md")),
}


class ReachedTensorFlow(Exception):
  """A command has checked its flags, and would now begin its work."""


@pytest.fixture(name="known_flags", scope="session")
def fixture_known_flags():
  """The names of the flags of all commands."""
  names = {"flagfile", *OTHER_FLAGS}
  for name in listing.commands():
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
      importlib.import_module(f"trainers.{name}").COMMAND.run([name, "--helpfull"])
    names |= set(re.findall(r"^  --(?:\[no\])?(\w+)", output.getvalue(), re.MULTILINE))
  return names


def name_of(page):
  return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_blocks_of_a_page_run(
  page, workplace, small_models, registered_again, monkeypatch, tmp_path
):
  monkeypatch.chdir(workplace)
  namespace = {}
  for block in code_blocks.blocks(page.read_text()):
    where = f"{page.stem}_line_{block.line}"
    if block.language == "python":
      code_blocks.run_python(block, where, namespace, tmp_path)
    elif block.language == "sh":
      for words in code_blocks.command_lines(block.text):
        with monkeypatch.context() as context:
          run_words(words, page.name, context)
    else:
      # Scripts and manifests of clusters have tests of their own, in tests/utils/test_cluster.py.
      languages = ("text", "bibtex", "bash", "dockerfile", "yaml")
      assert block.language in languages, f"{where}: {block.language!r}"


def run_words(words, page, monkeypatch):
  """Runs one line of a shell block, as far as that is cheap."""
  program, *arguments = words
  if program == "make":
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    variables = re.findall(r"^(\w+) =", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for argument in arguments:
      assert argument.split("=")[0] in (variables if "=" in argument else targets), words
  elif program == "pytest":
    for argument in arguments:
      assert argument.startswith("-") or (ROOT / argument).exists(), words
  elif program == "python" and arguments[0] == "-m":
    run_module(arguments[1], arguments[2:], page, monkeypatch)
  else:
    assert program in OTHER_PROGRAMS, words


def run_module(module, arguments, page, monkeypatch):
  """Runs `python -m MODULE`, as far as that is cheap."""
  package, _, name = module.partition(".")
  if package == "benchmarks":
    assert (ROOT / "benchmarks" / f"{name}.py").exists(), module
  elif not name:
    assert package == "trainers" and listing.run(arguments) == 0
  else:
    program = importlib.import_module(module).COMMAND
    flags, pages = CHEAP.get(name, ((), ()))
    if page in pages:
      assert program.run([name, *arguments, *flags]) == 0, arguments
      return
    if name in ("train", "train_classifier"):
      arguments = [*arguments, *conftest.SMALL_FLAGS]
    if name == "import_openai":
      arguments = with_new_files(arguments)
    stop_before_tensorflow(monkeypatch)
    try:
      status = program.run([name, *arguments])
    except ReachedTensorFlow:
      return
    assert status == 0, arguments


def with_new_files(arguments):
  """Returns the flags of an import, with a checkpoint that exists and a folder that does not."""
  for argument in arguments:
    if argument.startswith("--checkpoint="):
      path = pathlib.Path(argument.removeprefix("--checkpoint="))
      if not path.suffix:  # The folder of a training.
        path.mkdir()
        path /= "model500000.pt"
      path.touch()
  return [*arguments, "--model_dir=runs/new"]


def stop_before_tensorflow(monkeypatch):
  """Makes commands stop where they would import TensorFlow or connect to a server."""

  def stop(*_, **__):
    raise ReachedTensorFlow

  monkeypatch.setattr(command, "load_tensorflow", stop)
  monkeypatch.setattr(clients, "connect", stop)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_flags_in_the_text_exist(page, known_flags):
  text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
  for flag in re.findall(r"(?<![\w-])--([a-z][\w-]*)", text):
    assert {flag, flag.removeprefix("no")} & known_flags, f"--{flag}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
  for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
    if "://" not in target and not target.startswith("reference/"):
      assert (page.parent / target).exists(), target


def test_the_readme_fits_a_page():
  assert len((ROOT / "README.md").read_text().split()) <= 700


def test_every_page_is_in_the_navigation():
  navigation = (ROOT / "mkdocs.yml").read_text()
  for page in (ROOT / "docs").glob("*.md"):
    assert f": {page.name}\n" in navigation, page.name
