"""The public functions and classes, which `import iddpm_tf` gives and every command calls."""

from iddpm_tf.api.exported import ExportedModel
from iddpm_tf.api.loading import load
from iddpm_tf.api.loading import load_run
from iddpm_tf.api.model import Likelihood
from iddpm_tf.api.model import LikelihoodEstimate
from iddpm_tf.api.model import Model
from iddpm_tf.api.scores import score
from iddpm_tf.api.training import TrainingInterrupted
from iddpm_tf.api.training import run_training
from iddpm_tf.api.training import train
from iddpm_tf.api.training import train_classifier
from iddpm_tf.models.classifier import Classifier
from iddpm_tf.models.classifier import load_classifier
from iddpm_tf.models.trained_model import Ensemble
from iddpm_tf.serving.config import ServableConfig

__all__ = [
  "Classifier",
  "Ensemble",
  "ExportedModel",
  "Likelihood",
  "LikelihoodEstimate",
  "Model",
  "ServableConfig",
  "TrainingInterrupted",
  "load",
  "load_classifier",
  "load_run",
  "run_training",
  "score",
  "train",
  "train_classifier",
]
