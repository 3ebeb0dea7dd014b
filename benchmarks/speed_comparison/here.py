"""This project as a contestant: the graphs that its commands run."""

from collections.abc import Callable
import functools
import importlib
from typing import Any

import numpy as np

from benchmarks.speed_comparison import contestants
from iddpm_tf import config as config_lib
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command


class Here:
  """This project with one precision; see `worker.Subject`."""

  def __init__(self, work: contestants.Work):
    """Imports TensorFlow and the package, and sets the number of threads."""
    load_tensorflow(work)
    # Part of the imports, whose time is measured.
    for module in ("iddpm_tf.evaluation.nll.full_sum", "iddpm_tf.training.loop"):
      importlib.import_module(module)
    self._work, self._config = work, make_config(work)

  def about(self) -> dict[str, Any]:
    """Returns the number of weights."""
    return {"parameters": int(self._network.count_params())}

  def prepare(self, measure: str) -> Callable[[], object]:
    """Returns what runs a measure once."""
    return {
      "forward": self._forward,
      "training": self._training,
      "sampling": self._sampling,
      "likelihood": self._likelihood,
    }[measure]()

  @functools.cached_property
  def _state(self):
    from iddpm_tf.training import loop
    from iddpm_tf.training import state as state_lib
    from iddpm_tf.utils import devices

    strategy = devices.make_strategy()
    loop.images_per_part(strategy, self._config.training)
    with strategy.scope():
      return state_lib.TrainState(self._config), strategy

  @functools.cached_property
  def _network(self):
    from iddpm_tf import networks

    trains = "_state" in self.__dict__
    return self._state[0].network if trains else networks.build_network(self._config)

  def _forward(self):
    import tensorflow as tf

    from iddpm_tf.models import inference

    network = self._network

    @tf.function(autograph=False)
    def forward(x, t):
      return inference.make_model_fn(network, None)(x, t)

    shape = (self._work.batch_size, *self._work.network.image_shape)
    x = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
    t = tf.range(self._work.batch_size, dtype=tf.float32)
    return lambda: forward(x, t).numpy()

  def _training(self):
    import tensorflow as tf

    from iddpm_tf.training import loop

    state, strategy = self._state
    batch_size, shape = self._work.batch_size, self._work.network.image_shape
    images = np.random.default_rng(0).uniform(-1, 1, (batch_size, *shape)).astype(np.float32)

    def batches(context):
      data = {"image": images, "label": np.zeros(batch_size, np.int32)}
      size = context.get_per_replica_batch_size(batch_size)
      return tf.data.Dataset.from_tensor_slices(data).repeat().batch(size, drop_remainder=True)

    steps = loop.make_steps(state, strategy)
    iterator = iter(strategy.distribute_datasets_from_function(batches))
    # The records of a step, as the loop reads them.
    return lambda: tf.nest.map_structure(np.asarray, steps(iterator, tf.constant(1)))

  def _sampling(self):
    import tensorflow as tf

    from iddpm_tf.diffusion.samplers import base
    from iddpm_tf.models import image_sampler

    sampler = base.parse(f"ancestral:{self._work.sampling_steps}")
    images = image_sampler.ImageSampler(self._config, self._network, sampler)
    seeds = tf.range(self._work.batch_size, dtype=tf.int64)
    return lambda: images.draw(seeds).numpy()

  def _likelihood(self):
    import tensorflow as tf

    from iddpm_tf.evaluation.nll import full_sum
    from iddpm_tf.models import model_dir
    from iddpm_tf.models import trained_model

    model = trained_model.TrainedModel(
      # The folder is not read.
      model_dir.ModelDir("none"),
      self._config,
      self._network,
      step=0,
      ema=0.0,
      strategy=tf.distribute.get_strategy(),
    )
    diffusion = full_sum.respaced_diffusion(
      self._config.diffusion, self._work.likelihood_steps, "strided"
    )
    shape = (self._work.batch_size, *self._work.network.image_shape)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    bound = full_sum.FullSum(model, diffusion)
    return lambda: bound.bits_per_dim(
      images, batch_size=self._work.batch_size, progress=progress_lib.Silent()
    )


def load_tensorflow(work: contestants.Work) -> None:
  """Imports TensorFlow, and sets its threads and its logical devices."""
  command.load_tensorflow()
  import tensorflow as tf

  tf.config.threading.set_intra_op_parallelism_threads(work.threads)
  tf.config.threading.set_inter_op_parallelism_threads(work.threads)
  if work.replicas > 1:
    tf.config.set_logical_device_configuration(
      tf.config.list_physical_devices("CPU")[0],
      [tf.config.LogicalDeviceConfiguration()] * work.replicas,
    )


def make_config(work: contestants.Work) -> config_lib.Config:
  """Returns the configuration of a contestant's network: that of configs/cifar10.flags."""
  config = config_lib.Config.from_settings(
    **work.network.settings(work.contestant.precision),
    diffusion_steps=contestants.DIFFUSION_STEPS,
    noise_schedule="cosine",
    objective="hybrid",
    variance_type="learned_range",
    rescale_timesteps=True,
    batch_size=work.batch_size,
    microbatches=work.microbatches,
    remat=work.remat,
    learning_rate=contestants.LEARNING_RATE,
    ema=(contestants.EMA,),
  )
  return config.with_data(image_shape=work.network.image_shape, num_classes=0)
