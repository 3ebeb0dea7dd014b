"""The house: who may import whom, and how large a file may be."""

import ast
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = {
  "iddpm_tf": 0,
  "iddpm_tf.config": 1,
  "iddpm_tf.diffusion": 2,
  "iddpm_tf.networks": 2,
  "iddpm_tf.data": 2,
  "iddpm_tf.evaluation": 3,
  "iddpm_tf.training": 3,
  "iddpm_tf.interop": 3,
  "iddpm_tf.serving": 3,
  "trainers": 4,
}
PACKAGES = ("iddpm_tf", "trainers")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path):
  """Absolute names that a file imports, anywhere in it: modules, and what is taken from them."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{path}:{node.lineno}: a relative import"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name):
  """The place in the table that a module is part of: `iddpm_tf.data.images` -> `iddpm_tf.data`."""
  parts = name.split(".")
  if parts[0] == "trainers":
    return "trainers"
  two = ".".join(parts[:2])
  # Names of the package itself, such as its version.
  return two if (ROOT / two.replace(".", "/")).is_dir() or two in FLOORS else parts[0]


def module_of(path):
  return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def of_room(*names):
  return [path for path in FILES if room(module_of(path)) in names]


def named(path):
  return str(path.relative_to(ROOT))


def test_every_file_has_a_floor():
  assert {room(module_of(path)) for path in FILES} == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_go_down_the_floors_only(path):
  own = room(module_of(path))
  for name in imports(path):
    if name.split(".")[0] in PACKAGES and room(name) != own:
      assert FLOORS[room(name)] < FLOORS[own], f"{named(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_the_package_stands_without_tests_and_what_lies_around_it(path):
  for name in imports(path):
    assert name.split(".")[0] not in ("tests", "benchmarks", "shared", "pytest"), name
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      for place in ("../shared", "tests/golden"):
        assert place not in node.value, f"{named(path)}:{node.lineno}"


@pytest.mark.parametrize("path", of_room("iddpm_tf.networks"), ids=named)
def test_networks_run_on_any_keras_backend(path):
  roots = {name.split(".")[0] for name in imports(path)}
  assert not roots & {"tensorflow", "tensorflow_probability", "tensorflow_datasets", "torch", "jax"}


@pytest.mark.parametrize("path", of_room("iddpm_tf.diffusion"), ids=named)
def test_diffusion_knows_no_network(path):
  assert "keras" not in {name.split(".")[0] for name in imports(path)}


def test_configurations_need_the_standard_library_only():
  """So that a wrong flag is answered at once, without TensorFlow."""
  for path in of_room("iddpm_tf", "iddpm_tf.config"):
    roots = {name.split(".")[0] for name in imports(path)} - {"iddpm_tf"}
    assert roots <= sys.stdlib_module_names


def test_flags_are_known_to_trainers_only():
  for path in FILES:
    if room(module_of(path)) != "trainers":
      assert "absl" not in {name.split(".")[0] for name in imports(path)}, named(path)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_torch_is_imported_where_it_is_used_only(path):
  """PyTorch is optional: no file imports it at its top."""
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
      names = (
        [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
      )
      assert all(name.split(".")[0] != "torch" for name in names)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_files_stay_short(path):
  assert len(path.read_text().splitlines()) < 320
