"""Training, evaluation and sampling on two devices, which agree with one device.

The number of logical devices is fixed once TensorFlow has started. Everything on two devices runs
in one process of its own, because starting one takes long.
"""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import networks
from iddpm_tf.data import batches as batches_lib
from iddpm_tf.data import sources
from iddpm_tf.evaluation import results_log
from iddpm_tf.interop import initialisation
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.networks import stateless
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import train_step
from iddpm_tf.utils import devices
from tests import small_model
from tests.training import events
from tests.training import test_moments

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 8
FLAGS = small_model.flags(
  # With 32 channels, normalised groups would have one channel each. The gradients of the biases
  # before them would be exactly zero, and Adam would amplify their rounding.
  base_channels=64,
  channel_multipliers=(1,),
  num_res_blocks=1,
  attention_resolutions=(),
  diffusion_steps=4,
  objective="vlb",
  timestep_sampler="loss_second_moment",
  batch_size=32,
  learning_rate=1e-3,
  ema=(0.9,),
  train_steps=STEPS,
  log_every=1,
  samplers=("ddim:2",),
  num_samples=2,
  eval_every=STEPS,
  eval_scores=("fid",),
  eval_samples=70,
  best_score="fid",
)
# Seven images in batches of four: a full batch, and one that two devices cannot share evenly.
SAMPLE = ("--num_samples=7", "--batch_size=4")
SCRIPT = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
from tests.training import test_moments
from tests.training import test_replicas
from trainers import sample
from trainers import train

folder = sys.argv[1]
test_replicas.drop_units_on_two_devices(folder + "/dropped.npz")
test_moments.train_on_two_devices(folder + "/moments")
model_dir = f"--model_dir={folder}/run"
assert train.COMMAND.run(["train", *test_replicas.FLAGS, model_dir, "--microbatches=2"]) == 0
test_replicas.begin_on_two_devices(f"{folder}/run", f"{folder}/begun")
flags = (model_dir, *test_replicas.SAMPLE, f"--output_dir={folder}/drawn")
assert sample.COMMAND.run(["sample", *flags]) == 0
"""


@pytest.fixture(name="two_devices", scope="module")
def fixture_two_devices(tmp_path_factory):
  """The folder of what two devices have made."""
  folder = tmp_path_factory.mktemp("two_devices")
  subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], cwd=ROOT, check=True)
  return folder


@pytest.fixture(name="one_device", scope="module")
def fixture_one_device(tmp_path_factory):
  """The model folder that one device has made of the same batches, in one part each."""
  from trainers import train

  folder = tmp_path_factory.mktemp("one_device") / "run"
  flags = [flag for flag in FLAGS if not flag.startswith(("--eval_", "--best_score"))]
  assert train.COMMAND.run(["train", *flags, f"--model_dir={folder}"]) == 0
  return folder


def begin_on_two_devices(source, folder):
  """Begins a run of more rates with the weights of another one."""
  config = model_dir_lib.ModelDir(source).require_config().with_settings(ema=(0.9, 0.5))
  with devices.make_strategy().scope():
    state = state_lib.TrainState(config)
  initialisation.initialise(state, model_dir_lib.ModelDir(folder), source)


def numbers(folder):
  """Returns all numbers of the newest checkpoint by name."""
  reader = tf.train.load_checkpoint(str(folder / "checkpoints"))
  return {
    name: reader.get_tensor(name)
    for name in reader.get_variable_to_shape_map()
    if not name.startswith(("_CHECKPOINTABLE", "save_counter"))
  }


def test_two_devices_with_two_microbatches_make_the_steps_of_one(two_devices, one_device):
  ours, expected = numbers(two_devices / "run"), numbers(one_device)
  assert ours.keys() == expected.keys() and len(ours) > 100
  for name, value in expected.items():
    # Sums have another order. A weight has moved by up to 8e-3.
    tolerance = 1e-3 if name.startswith("optimizer/") else 1e-5
    np.testing.assert_allclose(ours[name], value, rtol=tolerance, atol=5e-5, err_msg=name)
  (losses,) = [value for name, value in ours.items() if name.startswith("timestep_sampler/losses")]
  assert np.ptp(np.mean(losses, axis=1)) > 0.01  # The losses of all parts have arrived.


def test_a_run_on_two_devices_begins_from_another_one(two_devices):
  source, begun = numbers(two_devices / "run"), numbers(two_devices / "begun")
  averages = {name: value for name, value in source.items() if name.startswith("averages/0..9/")}
  assert averages
  for name, value in averages.items():
    for place in ("network", "averages/0..9", "averages/0..5"):
      np.testing.assert_array_equal(begun[name.replace("averages/0..9", place)], value, name)


def test_two_devices_show_the_losses_and_norms_of_one(two_devices, one_device):
  ours, expected = events.scalars(two_devices / "run"), events.scalars(one_device)
  for tag in ("loss/loss", "loss/vlb", "norm/gradients", "norm/weights"):
    assert ours[tag].keys() == expected[tag].keys() == set(range(1, STEPS + 1))
    assert ours[tag] == pytest.approx(expected[tag], rel=1e-4), tag
  assert "gradient_noise/trace_of_covariance" not in expected


def test_the_noise_scale_is_measured_by_the_microbatches_of_all_devices(two_devices):
  """The first step is compared with four microbatches on one device."""
  folder = model_dir_lib.ModelDir(two_devices / "run")
  config = folder.require_config().with_settings(microbatches=4)
  source = sources.load(config.data, "train")
  batches = batches_lib.training_batches(
    source, batch_size=32, seed=config.training.seed, first_step=0, random_flip=False
  )
  record = train_step.train_step(state_lib.TrainState(config), next(iter(batches)))
  scalars = events.scalars(folder.path)
  trace = scalars["gradient_noise/trace_of_covariance"]
  norms = scalars["norm/gradients"]
  # E|G_B|^2 = |G|^2 + tr(Sigma) / B, solved for the mean squared norm of 8 images.
  part = {step: norms[step] ** 2 + trace[step] * (1 / 8 - 1 / 32) for step in norms}
  assert part[1] == pytest.approx(float(record.part_squared_norm), rel=1e-3)
  # |.|^2 is convex, and the parts differ.
  assert all(part[step] > norms[step] ** 2 for step in norms)


def test_two_devices_draw_the_images_of_one(run, two_devices, tmp_path):
  flags = (f"--model_dir={two_devices / 'run'}", *SAMPLE, f"--output_dir={tmp_path}")
  assert run("sample", *flags).status == 0
  name = "ddim_2_samples_7x8x8x1.npz"
  ours, theirs = (
    np.load(folder / name)["arr_0"].astype(int) for folder in (tmp_path, two_devices / "drawn")
  )
  np.testing.assert_allclose(ours, theirs, atol=1)


def test_two_devices_score_a_run_as_one_does(run, two_devices, tmp_path):
  folder = two_devices / "run"
  (trained,) = results_log.read(folder)
  assert trained["ema"] == 0.9 and trained["in_training"]
  flags = ("--best", "--fid", "--samplers=ddim:2", "--num_samples=70", f"--output_dir={tmp_path}")
  assert run("evaluate", f"--model_dir={folder}", *flags).status == 0
  (line,) = results_log.read(tmp_path)
  # Kernels for a share of a batch round differently, which changes some pixels by a level.
  assert line["scores"]["fid"] == pytest.approx(trained["scores"]["fid"], rel=1e-3)


def drop_units_on_two_devices(path):
  """Writes what a network with dropout returns in each of two replicas, and alone."""
  strategy = tf.distribute.MirroredStrategy(["cpu:0", "cpu:1"])
  with strategy.scope():
    network = networks.UNet(
      **small_model.NETWORK,
      dropout=0.5,
    )
    network.build((None, 4, 4, 3))
  for variable in network.trainable_variables:
    variable.assign(np.random.default_rng(0).standard_normal(variable.shape))
  x = tf.ones([1, 4, 4, 3])

  def call(index):
    seed = tf.stack([5, index])
    return stateless.call_network(network, x, tf.zeros([1]), dropout_seed=seed)

  @tf.function(autograph=False)
  def in_replicas():
    def replica():
      return call(tf.distribute.get_replica_context().replica_id_in_sync_group)

    return strategy.experimental_local_results(strategy.run(replica))

  np.savez(path, replicas=in_replicas(), alone=[call(0), call(1)])


def test_replicas_drop_units_independently(two_devices):
  outputs = np.load(two_devices / "dropped.npz")
  first, second = outputs["replicas"]
  assert np.abs(first - second).max() > 1e-2
  np.testing.assert_allclose(outputs["replicas"], outputs["alone"], rtol=1e-4, atol=1e-3)


def test_moments_that_start_later_are_the_same_on_two_devices(two_devices):
  """One device continues from what two have made."""
  optimizer, weights = test_moments.make_optimizer()
  path = str(two_devices / "moments")
  test_moments.make_checkpoint(optimizer, weights).read(path).assert_consumed()
  test_moments.apply(optimizer, weights, test_moments.GRADIENTS[3:])
  test_moments.assert_close(weights, test_moments.algorithm_2())
