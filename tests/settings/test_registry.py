"""Registries of implementations by name."""

import subprocess
import sys

import pytest

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.settings import registry

REGISTRIES = {
  name: value for name, value in vars(registries).items() if isinstance(value, registry.Registry)
}


@pytest.mark.parametrize("name", REGISTRIES)
def test_every_module_registers_what_its_name_says(name):
  names = REGISTRIES[name].names()
  assert names == tuple(sorted(names)) and names
  for implementation in names:
    assert REGISTRIES[name].get(implementation)


def test_an_unknown_name_is_refused_under_the_setting():
  with pytest.raises(
    settings.InputError, match=r"^samplers: expected one of .*, received 'euler'$"
  ):
    registries.SAMPLERS.get("euler")


def test_helper_modules_are_no_names():
  names: registry.Registry[type] = registry.Registry("kind", "iddpm_tf.networks", ("unet",))
  assert "layers" in names.names() and not {"unet", "__init__"} & set(names.names())


def test_other_code_can_register_implementations():
  names: registry.Registry[type] = registry.Registry("kind", "iddpm_tf.settings")

  @names.register("mine")
  class Mine:
    pass

  assert names.get("mine") is Mine and "mine" in names.names()


def test_names_are_listed_without_tensorflow():
  code = (
    "import sys; from iddpm_tf import registries; registries.SAMPLERS.names(); "
    "registries.NOISE_SCHEDULES.names(); registries.FEATURE_EXTRACTORS.names(); "
    "sys.exit('tensorflow' in sys.modules)"
  )
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
