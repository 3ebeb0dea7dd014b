"""Fixtures of the tests of the diffusion."""

import pytest

from iddpm_tf import registries


@pytest.fixture(name="temporary_registrations")
def fixture_temporary_registrations(monkeypatch):
  """Undoes at the end of a test what the test registers."""
  for registry in (registries.NOISE_SCHEDULES, registries.SAMPLERS):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
