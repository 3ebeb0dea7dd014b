"""The registries of noise schedules, samplers and feature extractors.

A new implementation is one new file in the registry's package, or a class that is registered from
outside. Listing the names imports neither TensorFlow nor NumPy.
"""

from typing import Any

from iddpm_tf.settings import registry

NOISE_SCHEDULES: registry.Registry[Any] = registry.Registry(
  "noise_schedule", "iddpm_tf.diffusion.schedules", helpers=("base",)
)
SAMPLERS: registry.Registry[Any] = registry.Registry(
  "samplers",
  "iddpm_tf.diffusion.samplers",
  helpers=("base", "known_pixels", "linear", "loop", "spacing"),
)
FEATURE_EXTRACTORS: registry.Registry[Any] = registry.Registry(
  "features", "iddpm_tf.evaluation.feature_extractors", helpers=("base",)
)
