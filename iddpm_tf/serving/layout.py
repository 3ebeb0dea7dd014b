"""The layout of a folder of exported models.

```
FOLDER/NAME/VERSION/saved_model.pb, variables/, assets.extra/
FOLDER/models.config and other files for the server
```

This module needs neither TensorFlow nor NumPy.
"""

import os
import pathlib
import re

from iddpm_tf import settings

DEFAULT_SIGNATURE = "serving_default"
PNG_PREFIX = "png_"
EDIT_PREFIX = "edit_"  # After PNG_PREFIX, if a signature has both.
INTERPOLATE_PREFIX = "interpolate_"  # As EDIT_PREFIX.
TRAJECTORY_SUFFIX = "_trajectory"
PROGRESS_SUFFIX = "_progress"  # The signature that returns how many steps a sampler has begun.
BEGUN_STEPS, STEPS = "begun_steps", "steps"  # Its outputs.
CLASS_NAMES = "class_names"  # The signature that returns the names of the classes.
# Its output. REST sends an output with the suffix _bytes as base64, which holds any name.
CLASS_NAMES_OUTPUT = "class_names_bytes"

ASSETS = "assets.extra"
CONFIG = "config.json"  # In ASSETS.
MADE_FROM = "made_from.json"  # In ASSETS: the checkpoints, the samplers, and perhaps LABELS.
LABELS = "labels"  # The number and the names of the classes, where they are a classifier's.
WARMUP = "tf_serving_warmup_requests"  # In ASSETS. TensorFlow Serving expects this name.

MODELS_CONFIG = "models.config"
DEPLOYMENT_FILES = (
  "batching_parameters.txt",
  "monitoring.config",
  "compose.yaml",
  "kubernetes.yaml",
  "SERVING.md",
)

_VERSION_LIMIT = 2**63  # TensorFlow Serving holds versions in an int64.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def is_sampler(signature: str) -> bool:
  """Returns whether a signature has the name of a sampler, and so returns images."""
  return not (
    signature.startswith((PNG_PREFIX, EDIT_PREFIX, INTERPOLATE_PREFIX, DEFAULT_SIGNATURE))
    or signature.endswith((TRAJECTORY_SUFFIX, PROGRESS_SUFFIX))
    or signature == CLASS_NAMES
  )


def sampler_of(signature: str) -> str:
  """Returns the name of the sampler that a signature draws by."""
  name = signature.removeprefix(PNG_PREFIX)
  name = name.removeprefix(EDIT_PREFIX).removeprefix(INTERPOLATE_PREFIX)
  return name.removesuffix(TRAJECTORY_SUFFIX)


def require_name(name: str) -> None:
  """Raises an `InputError` unless a model can be exported under this name.

  The name is used in paths, URLs, YAML and models.config.
  """
  settings.require(
    re.fullmatch(_NAME, name),
    "name",
    "at most 100 letters, digits, '.', '_' and '-' that begin with a letter or a digit",
    name,
  )
  settings.require(
    name not in (MODELS_CONFIG, *DEPLOYMENT_FILES),
    "name",
    f"a name other than {', '.join((MODELS_CONFIG, *DEPLOYMENT_FILES))}",
    name,
  )


def require_new_version(folder: str | os.PathLike[str], version: int | None) -> None:
  """Raises an `InputError` unless a new version of a model can be written.

  Args:
    folder: the model's folder. It need not exist.
    version: the new version, or None for the number after the newest version.
  """
  if version is None:
    version = next_version(folder)
  settings.require_count("version", version)
  target = pathlib.Path(folder) / str(version)
  settings.require(
    version < _VERSION_LIMIT and not target.exists(),
    "version",
    f"a number below 2**63 that does not exist in {folder} yet",
    version,
  )


def next_version(folder: str | os.PathLike[str]) -> int:
  """Returns the number after the newest version in a model's folder."""
  names = [path.name for path in pathlib.Path(folder).glob("*")]
  versions = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) < 20]
  return max((version for version in versions if version < _VERSION_LIMIT), default=0) + 1


def is_version(name: str) -> bool:
  """Returns whether a folder's name is a version in its normal form, without leading zeros."""
  return (
    name.isascii() and name.isdecimal() and name == str(int(name)) and int(name) < _VERSION_LIMIT
  )
