"""The flagfiles: their values, their networks, and what their README says about them."""

import dataclasses
import functools
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import losses
from iddpm_tf.networks import cost as cost_lib
from iddpm_tf.settings import arguments
from iddpm_tf.settings import flagfile
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import train_step

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "configs").glob("*.flags"))
PAPERS = [name for name in FILES if not name.startswith(("digits", "photos"))]

# Height, channels and classes of the data sets. A flagfile with `image_size` has another height.
DATA = {
  "digits": (8, 1, 10),
  "photos": (None, 3, 0),
  "cifar10": (None, 3, 10),
  "imagenet_npz": (None, 3, 0),
  "imagenet2012": (None, 3, 1000),
  "lsun": (None, 3, 0),
}

# The counts are those of the authors' networks. None stands for networks of the paper's tables, of
# which the authors have released no code.
PARAMETERS = {
  "cifar10": 52_546_438,
  "cifar10_vlb": 52_546_438,
  "table2_linear_1k_simple": 52_542_979,
  "table2_linear_4k_simple": 52_542_979,
  "table2_linear_4k_hybrid": 52_546_438,
  "table2_cosine_4k_simple": 52_542_979,
  "imagenet64": 121_063_942,
  "imagenet64_vlb": 121_063_942,
  "table1_linear_1k_simple": 121_060_483,
  "table1_linear_4k_simple": 121_060_483,
  "table1_linear_4k_hybrid": 121_063_942,
  "table1_cosine_4k_simple": 121_060_483,
  "table1_cosine_4k_hybrid": 121_063_942,
  "table1_cosine_4k_vlb": 121_063_942,
  "imagenet64_class_conditional": 273_049_350,
  "imagenet64_class_conditional_small": None,
  "imagenet256": None,
  "imagenet256_upsampler": 279_792_390,
  "lsun_bedroom": 113_676_678,
  "lsun_bedroom_small_batch": 113_676_678,
  "scaling_64": 30_303_494,
  "scaling_96": 68_126_598,
  "scaling_128": 121_063_942,
  "scaling_192": 272_281_350,
  # The paper has them in millions; see tests/interop/test_released_adm_models.py.
  "adm_imagenet64": 295_904_454,
  "adm_imagenet128": 421_529_606,
  "adm_imagenet256": 553_838_086,
  "adm_imagenet256_unconditional": 552_814_086,
  "adm_imagenet512": 558_997_638,
  "adm_upsampler256": 311_795_910,
  "adm_upsampler512": 308_835_270,
  "adm_lsun": 552_814_086,
  "adm_classifier64": 65_438_568,
  "adm_classifier128": 42_568_040,
  "adm_classifier256": 54_096_360,
  "adm_classifier512": 54_448_360,
}


def read(*texts):
  """Returns the `Config` of a command line."""
  known = settings.by_name(*config_lib.sections().values())
  return config_lib.Config.from_settings(**arguments.parse(flagfile.expand(texts), known))


def read_file(name, *overrides):
  return read(f"--flagfile=configs/{name}.flags", *overrides)


def with_data(config):
  """Returns a configuration that knows the images of its data set, as a training makes it."""
  height, channels, classes = DATA[config.data.dataset]
  height = config.data.image_size or height
  return dataclasses.replace(
    config,
    data=dataclasses.replace(
      config.data, image_shape=(height, height, channels), num_classes=classes
    ),
  )


@functools.cache
def cost(network, diffusion, image_shape, num_classes):
  return cost_lib.config_cost(
    config_lib.Config(
      network,
      diffusion,
      config_lib.DataConfig(image_shape=image_shape, num_classes=num_classes),
      config_lib.TrainingConfig(ema=()),
    )
  )


def cost_of(name):
  config = with_data(read_file(name))
  # The network depends on the diffusion only by whether the variance is learned.
  simple = (
    {}
    if config.diffusion.learns_variance
    else {"objective": "simple", "variance_type": "fixed_large"}
  )
  network = dataclasses.replace(config.network, dropout=0.0)
  classes = config.data.num_classes if config.uses_labels else 0
  return cost(network, config_lib.DiffusionConfig(**simple), config.data.image_shape, classes)


@pytest.fixture(autouse=True)
def fixture_root(monkeypatch):
  """Runs each test in the folder that the paths of the flagfiles are relative to."""
  monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", FILES)
def test_every_flagfile_is_valid_and_fits_its_data(name):
  with_data(read(f"--flagfile=configs/{name}"))


@pytest.mark.parametrize("name", PAPERS)
def test_the_flagfiles_of_the_paper_have_an_image_size(name):
  assert read(f"--flagfile=configs/{name}").data.image_size in (32, 64, 128, 256, 512)


def test_every_part_is_used():
  nested = re.findall(
    r"^--flagfile=(\S+)$",
    "".join(path.read_text() for path in (ROOT / "configs").rglob("*.flags")),
    re.MULTILINE,
  )
  assert {f"configs/parts/{path.name}" for path in (ROOT / "configs/parts").iterdir()} <= set(
    nested
  )


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_authors_parameters(name):
  if PARAMETERS[name]:
    assert cost_of(name).parameters == PARAMETERS[name]


def test_the_parameters_of_every_model_of_the_paper_are_counted():
  assert {f"{name}.flags" for name in PARAMETERS} == set(PAPERS)
  # "100M parameters": our reading is the network that the authors' released files call so, with
  # classes.
  labels = 1000 * 4 * 128
  assert (
    cost_of("imagenet64_class_conditional_small").parameters == PARAMETERS["imagenet64"] + labels
  )


def readme_rows():
  """Returns the cells of each row of the README's table after the first, by flagfile."""
  lines = (ROOT / "configs/README.md").read_text().splitlines()
  rows = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in lines
    if line.startswith("| `")
  ]
  assert len(rows) == len({row[0] for row in rows})
  return {row[0].strip("`"): row[1:] for row in rows}


def test_readme_lists_every_file():
  assert set(readme_rows()) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_readme_has_the_parameters_and_the_gflop(name):
  cost = cost_of(name.removesuffix(".flags"))
  _, parameters, gflop, *_ = readme_rows()[name]
  assert (parameters, gflop) == (
    f"{cost.parameters:,}",
    f"{cost.flops / 1e9:.3g}" if cost.flops < 1e12 else f"{cost.flops / 1e9:,.0f}",
  )


def test_cifar10_has_the_settings_of_the_paper():
  config = read_file("cifar10")
  network, diffusion, training = config.network, config.diffusion, config.training
  assert (network.base_channels, network.channel_multipliers) == (128, (1, 2, 2, 2))
  assert network.num_res_blocks == 3
  assert (network.attention_resolutions, network.num_heads, network.dropout) == ((16, 8), 4, 0.3)
  assert network.scale_shift_norm and not network.class_conditional
  assert (diffusion.diffusion_steps, diffusion.noise_schedule) == (4000, "cosine")
  assert diffusion.objective == "hybrid"
  assert (diffusion.variance_type, diffusion.vlb_weight, diffusion.rescale_timesteps) == (
    "learned_range",
    None,
    True,
  )
  assert (training.train_steps, training.batch_size, training.learning_rate, training.ema) == (
    500_000,
    128,
    1e-4,
    (0.9999,),
  )
  assert training.weight_decay == 0 and not config.data.random_flip


@pytest.mark.parametrize(
  "name, steps, schedule, objective, train_steps, dropout",
  [
    ("table1_linear_1k_simple", 1000, "linear", "simple", 200_000, 0),
    ("table1_linear_4k_simple", 4000, "linear", "simple", 200_000, 0),
    ("table1_linear_4k_hybrid", 4000, "linear", "hybrid", 200_000, 0),
    ("table1_cosine_4k_simple", 4000, "cosine", "simple", 200_000, 0),
    ("table1_cosine_4k_hybrid", 4000, "cosine", "hybrid", 200_000, 0),
    ("table1_cosine_4k_vlb", 4000, "cosine", "vlb", 200_000, 0),
    ("imagenet64", 4000, "cosine", "hybrid", 1_500_000, 0),
    ("imagenet64_vlb", 4000, "cosine", "vlb", 1_500_000, 0),
    ("table2_linear_1k_simple", 1000, "linear", "simple", 500_000, 0.1),
    ("table2_linear_4k_simple", 4000, "linear", "simple", 500_000, 0.1),
    ("table2_linear_4k_hybrid", 4000, "linear", "hybrid", 500_000, 0.1),
    ("table2_cosine_4k_simple", 4000, "cosine", "simple", 500_000, 0.3),
    ("cifar10", 4000, "cosine", "hybrid", 500_000, 0.3),
    ("cifar10_vlb", 4000, "cosine", "vlb", 500_000, 0.3),
  ],
)
def test_rows_of_tables_1_and_2(name, steps, schedule, objective, train_steps, dropout):
  config = read_file(name)
  diffusion, training = config.diffusion, config.training
  assert (diffusion.diffusion_steps, diffusion.noise_schedule) == (steps, schedule)
  assert diffusion.objective == objective
  assert diffusion.variance_type == ("fixed_large" if objective == "simple" else "learned_range")
  assert diffusion.timestep_sampler == ("loss_second_moment" if objective == "vlb" else "uniform")
  assert (training.train_steps, training.batch_size, training.learning_rate) == (
    train_steps,
    128,
    1e-4,
  )
  assert (config.network.dropout, config.data.dataset) == (
    dropout,
    "cifar10" if "2" in name.split("_")[0] or "cifar" in name else "imagenet_npz",
  )


@pytest.mark.parametrize(
  "name, train_steps, batch_size, learning_rate, schedule, steps",
  [
    ("imagenet64_class_conditional", 250_000, 2048, 3e-4, "cosine", 4000),
    ("imagenet64_class_conditional_small", 1_700_000, 128, 1e-4, "cosine", 4000),
    ("imagenet256_upsampler", 500_000, 256, 3e-4, "linear", 4000),
    ("imagenet256", 500_000, 256, 3e-4, "linear", 4000),
    ("lsun_bedroom", 1_200_000, 128, 1e-4, "linear", 1000),
    ("lsun_bedroom_small_batch", 2_400_000, 64, 2e-5, "linear", 1000),
  ],
)
def test_raw_models(name, train_steps, batch_size, learning_rate, schedule, steps):
  config = read_file(name)
  training, diffusion = config.training, config.diffusion
  assert (training.train_steps, training.batch_size, training.learning_rate) == (
    train_steps,
    batch_size,
    learning_rate,
  )
  assert (diffusion.diffusion_steps, diffusion.noise_schedule) == (steps, schedule)
  assert diffusion.objective == "hybrid"
  assert not diffusion.rescale_timesteps and config.data.resize == "area"
  assert config.network.class_conditional == ("imagenet" in name)
  assert config.network.low_res_size == (64 if "upsampler" in name else 0)


@pytest.mark.parametrize("name", ["imagenet64_class_conditional", "lsun_bedroom"])
def test_raw_models_weigh_the_term_of_the_bound_by_one(name):
  """The authors' loss "mse" is L_simple plus the term of the bound at t, for every T."""
  diffusion = read_file(name).diffusion
  model = gaussian_diffusion.make_diffusion(diffusion)
  rng = np.random.default_rng(0)
  x_start, noise, output = (
    tf.constant(rng.standard_normal((3, 4, 4, channels)), tf.float32) for channels in (1, 1, 2)
  )
  t = tf.constant([1, 20, 900])
  x_t = model.process.q_sample(x_start, t, noise)
  result = losses.training_losses(model, output, x_start=x_start, x_t=x_t, t=t, noise=noise)
  prediction = model.predict(output, x_t, t, clip=False)
  term = losses.vlb_term(model, prediction, x_start=x_start, x_t=x_t, t=t)
  np.testing.assert_allclose(result.loss, result.mse + term, rtol=1e-5)


@pytest.mark.parametrize("width", [64, 96, 128, 192])
def test_scaling_changes_width_and_learning_rate_only(width):
  scaled, base = read_file(f"scaling_{width}"), read_file("imagenet64")
  assert scaled.training.learning_rate == pytest.approx(1e-4 / (width / 128) ** 0.5, rel=1e-4)
  assert dataclasses.replace(scaled, training=base.training) == dataclasses.replace(
    base, network=dataclasses.replace(base.network, base_channels=width)
  )


def test_later_flags_override_and_lists_are_replaced():
  config = read_file("cifar10", "--ema=0.9,0.99", "--batch_size=64")
  assert config.training.ema == (0.9, 0.99) and config.training.batch_size == 64


def test_any_model_can_have_another_objective():
  """The README does this for Figures 8 and 11."""
  config = read_file("lsun_bedroom", "--flagfile=configs/parts/simple.flags")
  assert (config.diffusion.objective, config.diffusion.variance_type) == ("simple", "fixed_large")


def test_the_defaults_train_the_digits():
  config = read()
  assert config.data.dataset == "digits"
  with_data(config)


def network_of(name):
  """Returns the model of a flagfile with the fewest channels, for the smallest images.

  Attention is at the same levels. The objective is the default one where the variance is learned.
  """
  config = with_data(read_file(name))
  network = config.network
  height, _, channels = config.data.image_shape
  size = min(height, max(4, 2 ** (len(network.channel_multipliers) - 1)))
  simple = {"objective": "simple", "variance_type": "fixed_large"}
  return dataclasses.replace(
    config,
    network=dataclasses.replace(
      network,
      base_channels=64 if min(network.channel_multipliers) < 1 else 32,
      num_head_channels=network.num_head_channels and 32,
      num_res_blocks=1,
      attention_resolutions=tuple(
        resolution * size // height for resolution in network.attention_resolutions
      ),
      low_res_size=network.low_res_size * size // height,
      dropout=network.dropout and 0.1,
    ),
    diffusion=config_lib.DiffusionConfig(
      **({} if config.diffusion.learns_variance else simple), diffusion_steps=4000
    ),
    data=dataclasses.replace(config.data, image_shape=(size, size, channels)),
    training=config_lib.TrainingConfig(batch_size=1, ema=()),
    sampling=config_lib.SamplingConfig(),
  )


def test_the_flagfile_of_cifar10_names_the_data_set():
  config = with_data(read_file("cifar10"))
  with tfds.testing.mock_data(num_examples=1):
    source = sources.load(config.data, "train")
  assert source.num_classes == config.data.num_classes
  assert source.images.shape == (1, *config.data.image_shape)


def first_step(config):
  """Returns the record of the first step, and whether the last layer has moved from its zeros."""
  state = state_lib.TrainState(config)
  network = state.network
  last = network.head.out_dense if config.is_classifier else network.out_conv
  before = last.kernel.numpy()
  image = np.random.default_rng(0).uniform(-1, 1, (1, *config.data.image_shape))
  batch = {
    "image": tf.constant(image, tf.float32),
    "label": tf.constant([config.data.num_classes // 2]),
  }
  record = train_step.train_step(state, batch)
  assert int(state.step) == 1
  state.load_into_network(state.weights)
  return record, np.any(last.kernel.numpy() != before)


@functools.cache
def output(config):
  """Returns the output of a new network for one image. Its last layer is not left at its zeros."""
  network = networks.build_network(config)
  last = network.head.out_dense if config.is_classifier else network.out_conv
  last.kernel.assign(tf.random.stateless_normal(last.kernel.shape, [0, 1]))
  x = tf.ones([1, *config.data.image_shape])
  if config.is_classifier:
    return network(x, tf.zeros([1])).numpy()
  label = tf.zeros([1], tf.int32) if config.uses_labels else None
  low_res = {"low_res": tf.ones([1, *config.low_res_shape])} if config.low_res_shape else {}
  return network(x, tf.zeros([1]), label, **low_res).numpy()


@pytest.mark.parametrize("name", FILES)
def test_the_network_of_every_flagfile_runs_at_reduced_width(name):
  """Flagfiles whose networks differ only in their width share an output."""
  config = network_of(name.removesuffix(".flags"))
  result = output(config)
  *size, channels = config.data.image_shape
  expected = (*size, channels * (1 + config.diffusion.learns_variance))
  if config.is_classifier:
    expected = (config.data.num_classes,)
  assert result.shape == (1, *expected) and np.all(np.isfinite(result)) and np.std(result) > 0.01


# One network of each kind: with dropout, of the second paper, super-resolution, and a classifier.
@pytest.mark.parametrize(
  "name", ["cifar10", "adm_imagenet64", "imagenet256_upsampler", "adm_classifier64"]
)
def test_a_network_takes_a_step_at_reduced_width(name):
  record, moved = first_step(network_of(name))
  assert moved
  assert np.isfinite(record.grad_norm) and record.grad_norm > 0
  assert np.isfinite(record.loss) and record.loss > 0


@pytest.mark.parametrize("name", [name for name in FILES if "classifier" not in name])
def test_the_objective_of_every_flagfile_has_a_gradient_at_every_timestep(name):
  """Any output of a network of the flagfile's image is as good as another."""
  config = with_data(read_file(name.removesuffix(".flags")))
  model = gaussian_diffusion.make_diffusion(config.diffusion)
  timesteps = config.diffusion.diffusion_steps
  t = tf.range(timesteps)
  channels = config.data.image_shape[-1]
  rng = np.random.default_rng(0)
  x_start, noise, output = (
    tf.constant(rng.normal(0, 0.5, (timesteps, 1, 1, channels * parts)), tf.float32)
    for parts in (1, 1, 1 + config.diffusion.learns_variance)
  )
  x_t = model.process.q_sample(x_start, t, noise)
  with tf.GradientTape() as tape:
    tape.watch(output)
    result = losses.training_losses(model, output, x_start=x_start, x_t=x_t, t=t, noise=noise)
  gradient = tape.gradient(result.loss, output)
  assert np.all(np.isfinite(result.loss)) and np.all(np.isfinite(gradient))
  assert np.all(np.any(gradient != 0, axis=(1, 2, 3)))
