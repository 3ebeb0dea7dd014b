"""Improved Denoising Diffusion Probabilistic Models (Nichol and Dhariwal, 2021) in TensorFlow.

```python
import iddpm_tf as iddpm

model = iddpm.load("runs/digits")
images = model.sample(16, sampler="ddim:50", labels=[3], seed=0)
```

The public names are loaded when they are first used: importing this package imports no TensorFlow.
"""

import importlib
import os
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
  from iddpm_tf.api import Classifier
  from iddpm_tf.api import Ensemble
  from iddpm_tf.api import ExportedModel
  from iddpm_tf.api import Likelihood
  from iddpm_tf.api import LikelihoodEstimate
  from iddpm_tf.api import Model
  from iddpm_tf.api import ServableConfig
  from iddpm_tf.api import TrainingInterrupted
  from iddpm_tf.api import load
  from iddpm_tf.api import load_classifier
  from iddpm_tf.api import score
  from iddpm_tf.api import train
  from iddpm_tf.api import train_classifier
  from iddpm_tf.config import Config
  from iddpm_tf.settings import InputError

__version__ = "0.2.0"

__all__ = [
  "Classifier",
  "Config",
  "Ensemble",
  "ExportedModel",
  "InputError",
  "Likelihood",
  "LikelihoodEstimate",
  "Model",
  "ServableConfig",
  "TrainingInterrupted",
  "load",
  "load_classifier",
  "score",
  "train",
  "train_classifier",
]

_HOMES = {"Config": "iddpm_tf.config", "InputError": "iddpm_tf.settings"}

# TensorFlow reads this when it is imported. It is the default on some processors only, and makes
# training a third faster where it is not. The last bits of results depend on it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def __getattr__(name: str) -> Any:
  """Returns a public name, and imports its module when it is first asked for."""
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  value = getattr(importlib.import_module(_HOMES.get(name, "iddpm_tf.api")), name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  """Returns the public names."""
  return sorted({*globals(), *__all__})
