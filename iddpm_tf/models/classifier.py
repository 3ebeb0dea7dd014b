"""A trained classifier of noisy images: the network of a model folder with its weights."""

import dataclasses
import os

import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf.models import checkpoints
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.networks import stateless
from iddpm_tf.utils import gradients
from iddpm_tf.utils import progress as progress_lib


@dataclasses.dataclass(frozen=True)
class Classifier:
  """A noisy classifier with its weights (Dhariwal & Nichol, 2021, section 4).

  Attributes:
    folder: the model folder.
    config: its configuration.
    network: the built network.
    step: the training step of the weights.
  """

  folder: model_dir_lib.ModelDir
  config: config_lib.Config
  network: networks.NoisyClassifier
  step: int

  def __str__(self) -> str:
    return f"{self.folder}, step {self.step}"

  @property
  def num_classes(self) -> int:
    """The number of classes."""
    return self.config.data.num_classes

  @property
  def class_names(self) -> tuple[str, ...]:
    """The names of the classes by number; empty where they are unknown."""
    return self.config.data.class_names

  @property
  def variables(self) -> list[tf.Variable]:
    """The variables that `log_prob` uses, which an export holds."""
    return [variable.value for variable in self.network.trainable_variables]

  def log_prob(self, x_t: tf.Tensor, t: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Returns log p(label | x_t), nats, float32 `[B]`.

    It can be differentiated by `x_t`.

    Args:
      x_t: noisy images, float32 `[B, H, W, C]`.
      t: timesteps as `GaussianProcess.network_timesteps` gives them, float32 `[B]`.
      label: classes, int32 `[B]`.
    """
    with gradients.forgotten_custom_gradients():
      logits = stateless.call_network(self.network, x_t, t)
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)


def load_classifier(
  folder: str | os.PathLike[str] | model_dir_lib.ModelDir,
  *,
  progress: progress_lib.Progress | None = None,
) -> Classifier:
  """Loads the newest weights of a classifier's model folder.

  Args:
    folder: the model folder.
    progress: where notes about damaged checkpoints go.

  Raises:
    InputError: there is no run in the folder, it is one of a diffusion model, or it has no
      checkpoint.
  """
  if not isinstance(folder, model_dir_lib.ModelDir):
    folder = model_dir_lib.ModelDir(folder)
  config = folder.require_config(classifier=True)
  network = networks.build_classifier(config)
  step = checkpoints.restore_network(network, folder.checkpoints, ema=0.0, progress=progress)
  return Classifier(folder, config, network, step)
