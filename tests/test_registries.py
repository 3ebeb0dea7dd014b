"""The registries of schedules, samplers and feature extractors."""

import subprocess
import sys

import pytest

from iddpm_tf import registries
from iddpm_tf import settings

REGISTRIES = {
  "noise_schedules": registries.NOISE_SCHEDULES,
  "samplers": registries.SAMPLERS,
  "feature_extractors": registries.FEATURE_EXTRACTORS,
}


@pytest.mark.parametrize("name", REGISTRIES)
def test_every_module_registers_its_own_name(name):
  registry = REGISTRIES[name]
  assert registry.names()
  for each in registry.names():
    implementation = registry.get(each)
    assert implementation.__module__.split(".")[-1] == each
    assert getattr(implementation, "name", each) == each


@pytest.mark.parametrize("name", REGISTRIES)
def test_an_unknown_name_is_refused_with_the_known_ones(name):
  registry = REGISTRIES[name]
  message = f"expected one of {', '.join(registry.names())}, received 'other'$"
  with pytest.raises(settings.InputError, match=message):
    registry.get("other")


def test_names_are_listed_without_importing_tensorflow_or_numpy():
  program = """
import sys
from iddpm_tf import registries
names = [each.names() for each in (
  registries.NOISE_SCHEDULES, registries.SAMPLERS, registries.FEATURE_EXTRACTORS)]
assert all(names), names
assert not {"tensorflow", "keras", "numpy"} & set(sys.modules), sorted(sys.modules)
"""
  subprocess.run([sys.executable, "-c", program], check=True)
