"""The layers of the package, and what each of them may import and say."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

from trainers.cli import listing

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("iddpm_tf", "trainers")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# A module imports modules of its own place and of places with a smaller number.
FLOORS = {
  "iddpm_tf": 0,
  "iddpm_tf.config": 0,
  "iddpm_tf.settings": 0,
  "iddpm_tf.registries": 0,
  "iddpm_tf.utils": 0,
  "iddpm_tf.diffusion": 1,
  "iddpm_tf.networks": 1,
  "iddpm_tf.data": 1,
  "iddpm_tf.models": 2,
  "iddpm_tf.evaluation": 3,
  "iddpm_tf.training": 4,
  "iddpm_tf.serving": 4,
  "iddpm_tf.interop": 5,
  "iddpm_tf.api": 6,
  "trainers": 7,
}
# Imports between places of the same floor.
ALLOWED = {
  ("iddpm_tf.registries", "iddpm_tf.settings"),
  ("iddpm_tf.config", "iddpm_tf.settings"),
  ("iddpm_tf.config", "iddpm_tf.registries"),
  ("iddpm_tf.utils", "iddpm_tf.settings"),
}
# Strings of the library that look like flags of the commands.
FLAGS_OF_OTHERS = {
  # The form of settings in a flagfile.
  "iddpm_tf/settings/arguments.py": r"--(no)?name\b|--flagfile=PATH",
  "iddpm_tf/settings/flagfile.py": r"--name\b|--flagfile=PATH",
  # TensorFlow Serving's own flags.
  "iddpm_tf/serving/deployment.py": (
    r"--(port|rest_api_port|rest_api_timeout_in_ms|model_config_file"
    r"|model_config_file_poll_wait_seconds|file_system_poll_wait_seconds|enable_batching"
    r"|batching_parameters_file|monitoring_config_file)\b"
  ),
  # The flags of nvidia-smi.
  "iddpm_tf/training/estimates.py": r"--(query-gpu|format)\b",
}
FLAG = re.compile(r"(?<![\w-])--[a-z]\w*(-\w+)*|\btrainers\.[a-z]\w*|\bpython -m\b")


def parse(path):
  return ast.parse(path.read_text(encoding="utf-8"))


def named(path):
  return path.relative_to(ROOT).as_posix()


def module_of(path):
  return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def place(name):
  """Returns the place in `FLOORS` of a module: `iddpm_tf.data.images` -> `iddpm_tf.data`."""
  parts = name.split(".")
  if parts[0] == "trainers":
    return "trainers"
  two = ".".join(parts[:2])
  # Other names are of the package itself, such as its version.
  return two if (ROOT / two.replace(".", "/")).is_dir() or two in FLOORS else parts[0]


def files_of(*places):
  return [path for path in FILES if place(module_of(path)) in places]


def imports(path):
  """Yields the full names that a file imports, inside functions too: modules, and their members."""
  for node in ast.walk(parse(path)):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{named(path)}:{node.lineno}: a relative import"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path):
  """Returns the names of the packages that a file imports."""
  return {name.split(".")[0] for name in imports(path)}


def strings(path):
  """Yields the line and the text of each string of a file, docstrings included."""
  for node in ast.walk(parse(path)):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      yield node.lineno, node.value


def calls(path, function):
  """Returns the lines at which a file calls a function by its plain name."""
  return [
    node.lineno
    for node in ast.walk(parse(path))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
  ]


def test_every_file_has_a_floor():
  assert {place(module_of(path)) for path in FILES} == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_go_down_the_floors_only(path):
  if named(path) == "iddpm_tf/__init__.py":
    return  # It names all public modules, for type checkers, and imports them when they are used.
  own = place(module_of(path))
  for name in imports(path):
    other = place(name)
    if name.split(".")[0] in PACKAGES and other != own and (own, other) not in ALLOWED:
      assert FLOORS[other] < FLOORS[own], f"{named(path)} imports {name}"


def test_importing_the_package_imports_neither_tensorflow_nor_numpy():
  program = """
import sys
import iddpm_tf
iddpm_tf.Config.from_settings(base_channels=64, samplers=["ddim:50"]).to_json()
iddpm_tf.Config.from_flagfile("configs/digits.flags")
assert issubclass(iddpm_tf.InputError, ValueError)
heavy = {"tensorflow", "keras", "numpy", "absl"} & set(sys.modules)
assert not heavy, heavy
assert set(iddpm_tf.__all__) <= set(dir(iddpm_tf))
"""
  subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_the_package_does_not_know_its_tests_and_benchmarks(path):
  assert not roots(path) & {"tests", "benchmarks", "shared", "pytest"}
  for line, text in strings(path):
    for folder in ("../shared", "tests/golden"):
      assert folder not in text, f"{named(path)}:{line}"


@pytest.mark.parametrize("path", files_of("iddpm_tf.networks"), ids=named)
def test_networks_run_on_any_keras_backend(path):
  backends = {"tensorflow", "tensorflow_probability", "tensorflow_datasets", "torch", "jax"}
  assert not roots(path) & backends


@pytest.mark.parametrize("path", files_of("iddpm_tf.diffusion"), ids=named)
def test_the_diffusion_knows_no_network(path):
  assert "keras" not in roots(path)


def test_configurations_need_the_standard_library_only():
  """Then a wrong setting is reported at once, before TensorFlow is imported."""
  places = ("iddpm_tf", "iddpm_tf.config", "iddpm_tf.settings", "iddpm_tf.registries")
  for path in files_of(*places):
    assert roots(path) - {"iddpm_tf"} <= sys.stdlib_module_names, named(path)


def test_only_the_commands_know_absl():
  for path in FILES:
    assert "absl" not in roots(path) or place(module_of(path)) == "trainers", named(path)


@pytest.mark.parametrize(
  "path", [path for path in FILES if path.is_relative_to(ROOT / "iddpm_tf")], ids=named
)
def test_the_library_names_no_flag_and_no_command(path):
  others = re.compile(FLAGS_OF_OTHERS.get(named(path), r"(?!)"))
  for line, text in strings(path):
    match = FLAG.search(others.sub("", text))
    assert not match, f"{named(path)}:{line} names {match[0]}"


@pytest.mark.parametrize("name", FLAGS_OF_OTHERS)
def test_the_exceptions_are_still_needed(name):
  others = re.compile(FLAGS_OF_OTHERS[name])
  assert any(others.search(text) for _, text in strings(ROOT / name))


def test_the_library_prints_in_one_place_only():
  for path in (ROOT / "iddpm_tf").rglob("*.py"):
    if named(path) != "iddpm_tf/utils/progress.py":
      assert not calls(path, "print"), f"{named(path)}:{calls(path, 'print')}"


def test_trainers_holds_commands_and_what_they_share_only():
  names = {path.name for path in (ROOT / "trainers").iterdir()} - {"__pycache__", "py.typed"}
  commands = {f"{name}.py" for name in listing.commands()}
  assert names == commands | {"__init__.py", "__main__.py", "cli", "reproduction"}


@pytest.mark.parametrize("path", FILES, ids=named)
def test_pytorch_is_never_imported_at_the_top_of_a_file(path):
  """It is an optional dependency."""
  for node in parse(path).body:
    if isinstance(node, ast.Import):
      assert "torch" not in {alias.name.split(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert (node.module or "").split(".")[0] != "torch"
