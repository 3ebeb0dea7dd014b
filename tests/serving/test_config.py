"""The settings of an export."""

import pytest

from iddpm_tf import settings
from iddpm_tf.serving import config as config_lib


@pytest.mark.parametrize(
  "values, message",
  [
    ({"trajectory": 1}, "trajectory: expected 0 or at least 2 frames, received 1"),
    ({"trajectory": -1}, "trajectory: expected"),
    ({"warmup": (0,)}, "warmup: expected numbers from 1 to 64"),
    ({"warmup": (1, 65)}, "warmup: expected numbers from 1 to 64"),
  ],
)
def test_wrong_values_are_refused(values, message):
  with pytest.raises(settings.InputError, match=f"^{message}"):
    config_lib.ServableConfig(**values)


def test_requests_for_warming_up_are_optional():
  assert config_lib.ServableConfig(warmup=(), trajectory=2).warmup == ()
