"""The settings of a run, as frozen dataclasses. Each field holds the one default of its setting.

A model folder's `config.json` holds these fields, and the command line has a flag for each. Nothing
here imports TensorFlow.
"""

from iddpm_tf.config.config import VERSION
from iddpm_tf.config.config import Change
from iddpm_tf.config.config import Config
from iddpm_tf.config.config import sections
from iddpm_tf.config.data import DataConfig
from iddpm_tf.config.data import background_colour
from iddpm_tf.config.diffusion import DiffusionConfig
from iddpm_tf.config.evaluation import LIKELIHOODS
from iddpm_tf.config.evaluation import NEIGHBOURS
from iddpm_tf.config.evaluation import SCORES
from iddpm_tf.config.evaluation import EvaluationConfig
from iddpm_tf.config.network import POOLS
from iddpm_tf.config.network import NetworkConfig
from iddpm_tf.config.sampler_text import SPACINGS
from iddpm_tf.config.sampler_text import SamplerParts
from iddpm_tf.config.sampler_text import is_spacing
from iddpm_tf.config.sampler_text import sampler_parts
from iddpm_tf.config.sampling import SCALES
from iddpm_tf.config.sampling import SamplingConfig
from iddpm_tf.config.training import TrainingConfig

__all__ = [
  "LIKELIHOODS",
  "NEIGHBOURS",
  "POOLS",
  "SCALES",
  "SCORES",
  "SPACINGS",
  "VERSION",
  "Change",
  "Config",
  "DataConfig",
  "DiffusionConfig",
  "EvaluationConfig",
  "NetworkConfig",
  "SamplerParts",
  "SamplingConfig",
  "TrainingConfig",
  "background_colour",
  "is_spacing",
  "sampler_parts",
  "sections",
]
