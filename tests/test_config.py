"""Configurations: their values, JSON, flagfiles, and the errors of wrong settings."""

import dataclasses
import functools
import json
import math
import pathlib
import re

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.config import Config
from iddpm_tf.config import DataConfig
from iddpm_tf.config import DiffusionConfig
from iddpm_tf.config import EvaluationConfig
from iddpm_tf.config import NetworkConfig
from iddpm_tf.config import SamplingConfig
from iddpm_tf.config import TrainingConfig
from iddpm_tf.settings import arguments

EVERYTHING = Config(
  NetworkConfig(
    base_channels=64,
    channel_multipliers=(1, 2, 2),
    num_res_blocks=2,
    attention_resolutions=(4, 2),
    num_heads=2,
    num_heads_upsample=1,
    num_head_channels=32,
    attention_order="split",
    scale_shift_norm=False,
    conv_resample=False,
    resblock_updown=True,
    scaled_first_conv=True,
    dropout=0.1,
    class_conditional=True,
    label_dropout=0.2,
    low_res_size=4,
    precision="mixed_bfloat16",
  ),
  DiffusionConfig(
    diffusion_steps=100,
    noise_schedule="linear",
    mean_type="x_start",
    variance_type="learned",
    objective="vlb",
    vlb_weight=0.5,
    decoder="tanh",
    rescale_timesteps=False,
    timestep_sampler="loss_second_moment",
  ),
  DataConfig(
    dataset="mnist",
    data_dir="/somewhere",
    download=False,
    image_size=8,
    resize="area",
    folder_labels="prefix",
    folder_splits="none",
    class_order="alphabetical",
    extensions=("png",),
    test_share=0.1,
    channels=1,
    exif_orientation=False,
    background="0,0,255",
    max_value=4095,
    random_flip=True,
    image_shape=(8, 8, 1),
    num_classes=10,
    class_names=tuple("abcdefghij"),
  ),
  TrainingConfig(
    train_steps=7,
    batch_size=6,
    microbatches=3,
    max_examples=40,
    remat=True,
    graph_optimizer="none",
    learning_rate=2e-4,
    warmup_steps=5,
    decay_steps=8,
    weight_decay=0.01,
    ema=(0.9, 0.99),
    seed=3,
    steps_per_call=1,
    log_every=2,
    sample_every=6,
    save_every=4,
    keep_checkpoints=1,
    keep_every=7,
    profile_steps=(2, 3),
    max_grad_norm_ratio=50.0,
    max_skipped_steps=4,
    max_restarts=1,
  ),
  SamplingConfig(
    samplers=("ancestral", "ddim:50:0.5"),
    num_samples=9,
    clip_denoised=False,
    dynamic_threshold=0.995,
    truncate=True,
    guidance_scale=1.5,
    guidance_interval=(0.3, 5.0),
    classifier_scale=2.0,
    consistent=True,
  ),
  EvaluationConfig(
    eval_every=5,
    eval_scores=("nll",),
    eval_samples=8,
    eval_examples=4,
    eval_nll_steps=3,
    eval_features="features.pb",
    eval_reference="reference.npz",
    best_score="nll",
  ),
  history=(
    config_lib.Change(3, "learning_rate", 1e-3, 2e-4),
    config_lib.Change(4, "ema", (0.9,), (0.9, 0.99)),
    config_lib.Change(4, "data_dir", None, "/somewhere"),
  ),
)


def refused(name, make, **values):
  """Asserts that `make(**values)` is refused because of one setting, and returns the message."""
  with pytest.raises(settings.InputError) as caught:
    make(**values)
  message = str(caught.value)
  assert message.startswith(f"{name}: expected ") and ", received " in message
  assert "\n" not in message and caught.value.name == name
  return message


def changed(change, config=EVERYTHING):
  """Returns the JSON of a configuration after `change(content)`."""
  content = json.loads(config.to_json())
  change(content)
  return json.dumps(content)


def on_images(shape=(8, 8, 1), num_classes=10, **network):
  """Returns a configuration that knows the shape and the classes of its images."""
  defaults = {"base_channels": 32, "channel_multipliers": (1, 2), "attention_resolutions": ()}
  return Config(
    network=NetworkConfig(**defaults | network),
    data=DataConfig(image_shape=shape, num_classes=num_classes),
  )


def test_every_setting_of_the_example_differs_from_its_default():
  for name, section in config_lib.sections().items():
    ours, default = getattr(EVERYTHING, name), section()
    for field in dataclasses.fields(section):
      # A classifier would have the defaults of other settings.
      if field.name != "pool":
        assert getattr(ours, field.name) != getattr(default, field.name), field.name


@pytest.mark.parametrize("config", [Config(), EVERYTHING], ids=["defaults", "everything"])
def test_json_holds_the_whole_configuration(config):
  read = Config.from_json(config.to_json())
  assert read == config and hash(read) == hash(config)
  assert read.to_json() == config.to_json()


def test_json_is_versioned_and_ends_in_a_newline():
  text = EVERYTHING.to_json()
  assert json.loads(text)["version"] == config_lib.VERSION and text.endswith("}\n")


@pytest.mark.parametrize(
  "text", ["", "{", "[]", "null", "{}", '{"version": 99}', '{"version": "1"}', '"version"']
)
def test_other_json_is_refused(text):
  message = "^config: expected (JSON|a configuration of version 1 to 10), received"
  with pytest.raises(settings.InputError, match=message):
    Config.from_json(text)


@pytest.mark.parametrize("section", config_lib.sections())
def test_a_missing_or_wrong_section_is_named(section):
  with pytest.raises(settings.InputError, match=f"(?i){section}.*received None"):
    Config.from_json(changed(lambda content: content.pop(section)))
  with pytest.raises(settings.InputError, match=f"(?i){section}.*received 3"):
    Config.from_json(changed(lambda content: content.update({section: 3})))


@pytest.mark.parametrize("version", range(1, config_lib.VERSION))
def test_settings_that_an_older_version_lacks_say_what_it_did(version):
  newer = [
    (section, field.name)
    for section, dataclass in config_lib.sections().items()
    for field in dataclasses.fields(dataclass)
    if field.metadata.get("since", 1) > version
  ]

  def make_older(content):
    content["version"] = version
    if version < 5:
      del content["history"]
    for section, name in newer:
      content[section].pop(name)
    if not content["evaluation"]:
      content.pop("evaluation")

  read = Config.from_json(changed(make_older, Config()))
  assert newer and read.data == (DataConfig.before(5) if version < 5 else DataConfig())
  assert dataclasses.replace(read, data=DataConfig()) == Config()


def test_configurations_of_earlier_versions_take_pictures_as_these_did():
  data = DataConfig.before(5)
  assert not data.exif_orientation and data.background == "none"
  assert data.channels == data.max_value == data.test_share == 0
  assert data.folder_splits == "lowercase" and data.class_order == "alphabetical"
  assert data.extensions == ("png", "jpg", "jpeg", "webp", "gif")


def test_a_default_gives_way_to_what_an_earlier_version_did():
  before = DataConfig.before(5)
  data = DataConfig(image_size=8).as_before(before)
  assert data == dataclasses.replace(before, image_size=8)
  # What was said to be otherwise stays, and so do defaults beside a configuration of this version.
  assert DataConfig(background="black").as_before(before).background == "black"
  assert DataConfig().as_before(DataConfig(background="black")) == DataConfig()


@pytest.mark.parametrize(
  "name, value",
  [
    ("channels", 2),
    ("max_value", -1),
    ("max_value", 65536),
    ("extensions", ()),
    ("extensions", (".png",)),
    ("test_share", 1.0),
    ("test_share", -0.1),
    ("folder_splits", "some"),
    ("class_order", "random"),
    ("class_names", ("ant",)),
    ("background", "pink"),
    ("background", "1,2"),
    ("background", "1,2,256"),
    ("background", "1,2,-3"),
  ],
)
def test_impossible_ways_of_reading_pictures_are_refused(name, value):
  refused(name, DataConfig, **{name: value})
  assert config_lib.background_colour("1, 2,3") == (1, 2, 3)


def test_the_history_of_a_run_is_a_list_of_changes():
  content = json.loads(EVERYTHING.to_json())
  assert content["history"][0] == {
    "step": 3,
    "setting": "learning_rate",
    "from": 1e-3,
    "to": 2e-4,
  }
  later = EVERYTHING.with_settings(learning_rate=1e-4).continuing(EVERYTHING, 7)
  assert later.history == (
    *EVERYTHING.history,
    config_lib.Change(7, "learning_rate", 2e-4, 1e-4),
  )
  assert later.continuing(later, 9) == later


@pytest.mark.parametrize("history", [3, [3], [{"step": 3}], [dict.fromkeys(["step", "setting"])]])
def test_another_history_is_refused(history):
  with pytest.raises(
    settings.InputError, match=r"^config: expected a history of changes with step"
  ):
    Config.from_json(changed(lambda content: content.update(history=history)))


@pytest.mark.parametrize(
  "change, received",
  [
    ({"learning_rate": 1e-4, "warmup_steps": 3, "weight_decay": 0.0, "batch_size": 12}, None),
    ({"precision": "float32", "decay_steps": 9, "microbatches": 1}, None),
    ({"ema": (0.99, 0.5, 0.9)}, None),
    (
      {"ema": (0.9,)},
      "ema: expected 0.9,0.99, perhaps with more, the value in runs/a, received 0.9",
    ),
    ({"dropout": 0.2}, "dropout: expected 0.1, the value in runs/a, received 0.2"),
    ({"objective": "hybrid"}, "objective: expected 'vlb', the value in runs/a, received 'hybrid'"),
  ],
)
def test_a_run_may_change_what_its_numbers_do_not_contradict(change, received):
  if received is None:
    assert EVERYTHING.changed(change, "runs/a") == EVERYTHING.with_settings(**change)
    return
  with pytest.raises(settings.InputError) as caught:
    EVERYTHING.changed(change, "runs/a")
  assert str(caught.value) == received


def test_unknown_names_are_named():
  message = "^config: expected known sections, received extra, more$"
  with pytest.raises(settings.InputError, match=message):
    Config.from_json(changed(lambda content: content.update(more={}, extra={})))
  message = "^config: expected known settings, received channels$"
  with pytest.raises(settings.InputError, match=message):
    Config.from_json(changed(lambda content: content["network"].update(channels=3)))


@pytest.mark.parametrize(
  "section, name",
  [
    (section, field.name)
    for section, dataclass in config_lib.sections().items()
    for field in dataclasses.fields(dataclass)
  ],
)
def test_a_missing_setting_is_named(section, name):
  message = f"^config: expected values of all settings, received none of {name}$"
  with pytest.raises(settings.InputError, match=message):
    Config.from_json(changed(lambda content: content[section].pop(name)))


@pytest.mark.parametrize(
  "section, name, value",
  [
    ("network", "base_channels", 64.0),
    ("network", "base_channels", "64"),
    ("network", "base_channels", True),
    ("network", "channel_multipliers", 2),
    ("network", "channel_multipliers", [1, "2"]),
    ("network", "scale_shift_norm", 1),
    ("network", "dropout", None),
    ("network", "dropout", False),
    ("network", "precision", None),
    ("diffusion", "vlb_weight", "0.5"),
    ("diffusion", "noise_schedule", ["linear"]),
    ("data", "data_dir", 3),
    ("data", "image_shape", [8, 8, 1.0]),
    ("data", "image_shape", "881"),
    ("training", "ema", [[0.9]]),
    ("training", "ema", 0.9),
    ("sampling", "samplers", "ddim:50"),
  ],
)
def test_a_setting_of_another_type_is_named(section, name, value):
  with pytest.raises(settings.InputError, match=f"^{name}: expected .*, received ") as caught:
    Config.from_json(changed(lambda content: content[section].update({name: value})))
  assert repr(value) in str(caught.value)


def test_an_integer_is_accepted_for_a_float():
  text = changed(lambda content: content["training"].update(weight_decay=0))
  assert Config.from_json(text).training.weight_decay == 0


def test_the_values_of_json_are_checked():
  text = changed(lambda content: content["network"].update(num_heads=3, num_head_channels=0))
  refused("num_heads", Config.from_json, text=text)


@pytest.mark.parametrize("objective", ["simple", "hybrid", "vlb"])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned", "learned_range"])
def test_a_learned_variance_requires_an_objective_that_trains_it(objective, variance):
  values = {"objective": objective, "variance_type": variance}
  if (objective, variance.startswith("learned")) in [("simple", True), ("hybrid", False)]:
    message = refused("variance_type", DiffusionConfig, **values)
    assert f"objective={objective}" in message and message.endswith(f"received {variance!r}")
  else:
    assert DiffusionConfig(**values).learns_variance == variance.startswith("learned")


def test_vlb_weight_requires_an_objective_with_the_bound():
  refused(
    "vlb_weight", DiffusionConfig, objective="simple", variance_type="fixed_small", vlb_weight=0.1
  )
  for weight in (0.0, -1.0, float("inf"), float("nan")):
    refused("vlb_weight", DiffusionConfig, vlb_weight=weight)


@pytest.mark.parametrize("steps", [1, 19, 20])
def test_the_linear_schedule_requires_more_than_20_steps(steps):
  message = refused(
    "diffusion_steps", DiffusionConfig, noise_schedule="linear", diffusion_steps=steps
  )
  assert message.endswith(f"received {steps}")
  DiffusionConfig(noise_schedule="cosine", diffusion_steps=steps)
  DiffusionConfig(noise_schedule="linear", diffusion_steps=21)


@pytest.mark.parametrize(
  "make, name",
  [
    (NetworkConfig, "precision"),
    (NetworkConfig, "attention_order"),
    (NetworkConfig, "pool"),
    (DiffusionConfig, "noise_schedule"),
    (DiffusionConfig, "mean_type"),
    (DiffusionConfig, "variance_type"),
    (DiffusionConfig, "objective"),
    (DiffusionConfig, "decoder"),
    (DiffusionConfig, "timestep_sampler"),
  ],
)
def test_a_wrong_choice_is_refused_with_all_choices(make, name):
  message = refused(name, make, **{name: "other"})
  field = next(field for field in dataclasses.fields(make) if field.name == name)
  choices = settings.choices_of(field)
  assert field.default in choices and f"one of {', '.join(choices)}" in message


@pytest.mark.parametrize(
  "make, name, value",
  [
    (NetworkConfig, "base_channels", 0),
    (NetworkConfig, "base_channels", 48),
    (NetworkConfig, "num_res_blocks", 0),
    (NetworkConfig, "num_heads", 0),
    (NetworkConfig, "num_heads", 3),
    (NetworkConfig, "num_heads_upsample", -1),
    (NetworkConfig, "num_heads_upsample", 3),
    (NetworkConfig, "channel_multipliers", ()),
    (NetworkConfig, "channel_multipliers", (1, 0)),
    (NetworkConfig, "channel_multipliers", (1, float("inf"))),
    (NetworkConfig, "channel_multipliers", (1, float("nan"))),
    (NetworkConfig, "channel_multipliers", (0.5, 1)),
    (NetworkConfig, "num_head_channels", -1),
    (NetworkConfig, "num_head_channels", 48),
    (NetworkConfig, "dropout", 1.0),
    (NetworkConfig, "dropout", -0.1),
    (NetworkConfig, "dropout", float("nan")),
    (DiffusionConfig, "diffusion_steps", 0),
    (TrainingConfig, "train_steps", 0),
    (TrainingConfig, "batch_size", 0),
    (TrainingConfig, "microbatches", 0),
    (TrainingConfig, "microbatches", 3),
    (TrainingConfig, "learning_rate", 0.0),
    (TrainingConfig, "learning_rate", float("nan")),
    (TrainingConfig, "learning_rate", float("inf")),
    (TrainingConfig, "weight_decay", -0.1),
    (TrainingConfig, "weight_decay", float("inf")),
    (TrainingConfig, "warmup_steps", -1),
    (TrainingConfig, "decay_steps", -1),
    (TrainingConfig, "seed", -1),
    (TrainingConfig, "steps_per_call", 0),
    (TrainingConfig, "log_every", 0),
    (TrainingConfig, "sample_every", -1),
    (TrainingConfig, "save_every", 0),
    (TrainingConfig, "keep_checkpoints", 0),
    (TrainingConfig, "keep_every", -1),
    (TrainingConfig, "profile_steps", (3, 2)),
    (TrainingConfig, "profile_steps", (0, 2)),
    (TrainingConfig, "profile_steps", (3,)),
    (TrainingConfig, "max_grad_norm_ratio", -1.0),
    (TrainingConfig, "max_skipped_steps", 0),
    (TrainingConfig, "max_restarts", -1),
    (TrainingConfig, "ema", (0.9, 0.9)),
    (TrainingConfig, "ema", (1.0,)),
    (TrainingConfig, "ema", (0.0,)),
    (SamplingConfig, "num_samples", 0),
    (SamplingConfig, "dynamic_threshold", -0.1),
    (SamplingConfig, "dynamic_threshold", 99.5),
    (SamplingConfig, "samplers", ()),
  ],
)
def test_a_number_out_of_range_is_refused(make, name, value):
  shown = ",".join(map(str, value)) or "nothing" if isinstance(value, tuple) else repr(value)
  assert refused(name, make, **{name: value}).endswith(f"received {shown}")


def test_heads_divide_the_channels_of_every_level():
  NetworkConfig(base_channels=96, channel_multipliers=(1, 2), num_heads=6)
  refused("num_heads", NetworkConfig, base_channels=32, channel_multipliers=(3, 1), num_heads=6)
  refused("num_heads", NetworkConfig, base_channels=32, channel_multipliers=(1, 3), num_heads=6)


def test_heads_of_a_fixed_width_divide_the_channels_where_there_is_attention():
  config = Config.from_settings(
    channel_multipliers=(1, 3, 2), num_head_channels=64, num_heads=5, attention_resolutions=()
  )
  images = {"image_shape": (16, 16, 1), "num_classes": 0}
  config.with_data(**images)  # There is attention in the middle only, at 64 channels.
  with_attention = config.with_settings(attention_resolutions=(8,))
  message = refused("num_head_channels", with_attention.with_data, **images)
  assert message.endswith(
    "expected a divisor of the 96 channels of a level with attention, received 64"
  )


def test_multipliers_may_be_fractions_and_are_rounded_down():
  network = NetworkConfig(base_channels=64, channel_multipliers=(0.5, 1.0, 1.51))
  assert network.widths == (32, 64, 96)
  assert network.channel_multipliers == (0.5, 1, 1.51)
  assert settings.shown(network.channel_multipliers) == "0.5,1,1.51"
  config = Config(network=network)
  assert Config.from_json(config.to_json()) == config


def test_the_unit_of_channels_need_not_be_a_width():
  network = NetworkConfig(base_channels=16, channel_multipliers=(2, 4), scaled_first_conv=True)
  assert network.widths == (32, 64)
  refused("channel_multipliers", NetworkConfig, base_channels=48, scaled_first_conv=True)


CLASSIFIER = {"pool": "attention", "ema": ()}


def test_a_head_makes_the_configuration_one_of_a_classifier():
  assert not Config().is_classifier and not Config().uses_labels
  config = Config.from_settings(**CLASSIFIER)
  assert config.is_classifier and config.uses_labels and config.num_classes == 0
  config.with_data(image_shape=(8, 8, 1), num_classes=2)
  assert Config.from_json(config.to_json()) == config
  message = refused("pool", Config().require_changeable, other=config, made="runs/x")
  assert "expected 'none', the value in runs/x, received 'attention'" in message


@pytest.mark.parametrize(
  "name, value",
  [("class_conditional", True), ("low_res_size", 4), ("ema", (0.9,)), ("best_score", "fid")],
)
def test_a_classifier_has_nothing_that_only_a_diffusion_model_has(name, value):
  message = refused(name, Config.from_settings, **(CLASSIFIER | {name: value}))
  assert "for a classifier, received" in message


def test_a_classifier_requires_classes():
  config = Config.from_settings(**CLASSIFIER)
  message = refused("dataset", config.with_data, image_shape=(8, 8, 1), num_classes=0)
  assert "images of two or more classes for a classifier (here are 0)" in message


@pytest.mark.parametrize("decay", [1, 99, 100])
def test_decay_ends_after_warm_up(decay):
  message = refused(
    "decay_steps", TrainingConfig, train_steps=1, warmup_steps=100, decay_steps=decay
  )
  assert "warmup_steps=100" in message
  TrainingConfig(train_steps=101, warmup_steps=100, decay_steps=101)
  TrainingConfig(train_steps=101, warmup_steps=100, decay_steps=0)


def test_training_ends_before_the_learning_rate_is_0():
  message = refused("decay_steps", TrainingConfig, train_steps=101, decay_steps=100)
  assert "train_steps=101" in message


@pytest.mark.parametrize("resolution", [2, 3, 16])
def test_attention_requires_a_resolution_that_the_network_has(resolution):
  message = refused("attention_resolutions", on_images, attention_resolutions=(8, resolution))
  assert "8, 4" in message
  assert on_images(attention_resolutions=(8, 4)).network.depth == 1


@pytest.mark.parametrize("shape", [(7, 8, 1), (8, 7, 1), (8, 6, 1)])
def test_the_depth_divides_both_sides_of_the_image(shape):
  message = refused("channel_multipliers", on_images, shape=shape, channel_multipliers=(1, 1, 1))
  assert f"{shape[0]}x{shape[1]}" in message
  on_images(shape=(8, 12, 1), channel_multipliers=(1, 1, 1))


def test_guidance_requires_a_model_with_hidden_labels():
  config = on_images(class_conditional=True, label_dropout=0.1)
  assert config.with_settings(guidance_scale=2.0, guidance_interval=(0.5, 3.0))
  plain = on_images(class_conditional=True)
  assert "without label_dropout" in refused("guidance_scale", plain.with_settings, guidance_scale=2)
  refused("guidance_interval", plain.with_settings, guidance_interval=(1, 2))
  refused("label_dropout", on_images, label_dropout=0.1)
  refused("label_dropout", on_images, label_dropout=1.0, class_conditional=True)
  refused("guidance_scale", config.with_settings, guidance_scale=math.nan)
  refused("guidance_interval", config.with_settings, guidance_interval=(3, 1))
  refused("guidance_interval", config.with_settings, guidance_interval=(3,))


def test_class_conditional_requires_labels():
  message = refused("class_conditional", on_images, class_conditional=True, num_classes=0)
  assert "digits has 0 classes" in message
  assert on_images(class_conditional=True).num_classes == 10
  message = refused("class_conditional", on_images, class_conditional=True, num_classes=1)
  assert "digits has 1 classes" in message
  assert on_images(class_conditional=False).num_classes == 0


@pytest.mark.parametrize(
  "low, shape", [(3, (8, 8, 1)), (8, (8, 8, 1)), (16, (8, 8, 1)), (4, (8, 9, 1))]
)
def test_a_low_resolution_that_does_not_divide_is_refused(low, shape):
  message = refused(
    "low_res_size", on_images, shape=shape, low_res_size=low, channel_multipliers=(1,)
  )
  assert f"{shape[0]}x{shape[1]}" in message


def test_consistent_requires_a_super_resolution_model():
  message = r"^consistent: expected False for a model that enlarges no images .*, received True$"
  with pytest.raises(settings.InputError, match=message):
    dataclasses.replace(on_images(), sampling=SamplingConfig(consistent=True))


def test_the_shape_of_the_low_resolution_image():
  assert on_images().low_res_shape is None
  assert on_images(shape=(8, 16, 3), low_res_size=2).low_res_shape == (2, 4, 3)


def test_output_channels_are_doubled_where_the_variance_is_learned():
  config = on_images(shape=(8, 8, 3))
  assert config.out_channels == 6
  fixed = DiffusionConfig(objective="simple", variance_type="fixed_small")
  assert dataclasses.replace(config, diffusion=fixed).out_channels == 3


@pytest.mark.parametrize(
  "values, name",
  [
    ({"eval_every": -1}, "eval_every"),
    ({"eval_samples": 0}, "eval_samples"),
    ({"eval_scores": ()}, "eval_scores"),
    ({"eval_scores": ("fid", "fid")}, "eval_scores"),
    ({"eval_scores": ("bpd",)}, "eval_scores"),
    ({"best_score": "nll"}, "best_score"),
    ({"eval_scores": ("precision_recall",), "best_score": "precision_recall"}, "best_score"),
  ],
)
def test_impossible_evaluations_are_refused(values, name):
  refused(name, EvaluationConfig, **values)


def test_the_best_score_can_be_any_computed_score():
  for name in ("fid", "kid", "recall_k3", "precision_k5"):
    EvaluationConfig(eval_scores=("precision_recall", "fid", "kid"), best_score=name)


def test_a_super_resolution_model_has_no_scores_of_samples_in_training():
  config = on_images(low_res_size=4)
  message = "^eval_scores: expected nll or nll_train for a super-resolution model"
  with pytest.raises(settings.InputError, match=message):
    dataclasses.replace(config, evaluation=EvaluationConfig(eval_every=5))
  dataclasses.replace(config, evaluation=EvaluationConfig(eval_every=5, eval_scores=("nll",)))


def test_the_sections_name_all_dataclasses():
  assert config_lib.sections() == {
    "network": NetworkConfig,
    "diffusion": DiffusionConfig,
    "data": DataConfig,
    "training": TrainingConfig,
    "sampling": SamplingConfig,
    "evaluation": EvaluationConfig,
  }


def test_settings_are_given_by_name_whatever_their_section():
  config = Config.from_settings(dataset="mnist", base_channels=64, ema=[0.9, 0.99])
  assert config.data == DataConfig(dataset="mnist")
  assert config.network == NetworkConfig(base_channels=64)
  assert config.training == TrainingConfig(ema=(0.9, 0.99))
  assert config.with_settings(base_channels=96).network.base_channels == 96
  assert config.with_settings(base_channels=96).data == config.data


@pytest.mark.parametrize(
  "values, message",
  [
    (
      {"base_chanels": 64},
      "base_chanels: expected the name of a setting, received an unknown one; "
      "did you mean base_channels?",
    ),
    ({"zzz": 1}, "zzz: expected the name of a setting, received an unknown one"),
    ({"batch_size": "8"}, "batch_size: expected a whole number, received '8'"),
    ({"batch_size": 8.0}, "batch_size: expected a whole number, received 8.0"),
    ({"random_flip": 1}, "random_flip: expected true or false, received 1"),
    ({"ema": 0.9}, "ema: expected a list of values that are each a number, received 0.9"),
    ({"data_dir": 3}, "data_dir: expected text or nothing, received 3"),
    ({"batch_size": 0}, "batch_size: expected a positive number, received 0"),
    ({"image_shape": (8, 8)}, "image_shape: expected height, width and channels, received 8,8"),
  ],
)
def test_wrong_settings_are_refused(values, message):
  with pytest.raises(settings.InputError) as caught:
    Config.from_settings(**values)
  assert str(caught.value) == message


def test_a_flagfile_is_read_and_keywords_override_it(tmp_path):
  (tmp_path / "base.flags").write_text("# A comment.\n--batch_size=32\n--ema=0.9,0.99\n")
  path = tmp_path / "own.flags"
  path.write_text("--flagfile=base.flags\n\n--batch_size=16\n--noscale_shift_norm\n")
  config = Config.from_flagfile(path)
  assert config.training.batch_size == 16 and config.training.ema == (0.9, 0.99)
  assert not config.network.scale_shift_norm
  assert Config.from_flagfile(path, batch_size=8).training.batch_size == 8
  assert Config.from_flagfile("configs/digits.flags").network.class_conditional


def test_wrong_flagfiles_are_refused(tmp_path):
  refused("flagfile", Config.from_flagfile, path=tmp_path / "none.flags")
  path = tmp_path / "wrong.flags"
  path.write_text("--batch_size=8\n--learning_rat=1e-3\n")
  message = (
    rf"^learning_rat: there is no such setting \({path}, line 2\); did you mean learning_rate\?"
  )
  with pytest.raises(settings.InputError, match=message):
    Config.from_flagfile(path)
  path.write_text("batch_size=8\n")
  with pytest.raises(settings.InputError, match="line 1: expected a setting of the form"):
    Config.from_flagfile(path)
  path.write_text("--batch_size=many\n")
  refused("batch_size", Config.from_flagfile, path=path)


def test_a_run_may_change_some_settings():
  config = on_images()
  changed_config = config.changed({"train_steps": 5000, "samplers": ("ddim:5",)}, "runs/one")
  assert changed_config.training.train_steps == 5000
  assert changed_config.sampling.samplers == ("ddim:5",)
  with pytest.raises(settings.InputError) as caught:
    config.changed({"num_res_blocks": 2}, "runs/one")
  message = "num_res_blocks: expected 1, the value in runs/one, received 2"
  assert str(caught.value) == message


def test_the_images_are_filled_in_and_the_network_must_fit_them():
  config = Config.from_settings(channel_multipliers=(1, 2), attention_resolutions=())
  filled = config.with_data(image_shape=(8, 8, 3), num_classes=2, class_names=("ant", "bee"))
  assert filled.data.image_shape == (8, 8, 3) and filled.data.num_classes == 2
  assert Config.from_json(filled.to_json()).data.class_names == ("ant", "bee")
  refused("channel_multipliers", config.with_data, image_shape=(7, 7, 3), num_classes=2)


VALUES = (
  "1,2",
  "0.5",
  "nan",
  "a\nb",
  "",
  "9" * 5000,
  0.5,
  float("nan"),
  float("inf"),
  True,
  -1,
  2**70,
  10**5000,
  None,
  (),
  [1],
  ("x", 1),
  [[1]],
  {"a": 1},
  b"x",
  object(),
)
FIELDS = [
  (section, field.name)
  for section, dataclass in config_lib.sections().items()
  for field in settings.by_name(dataclass).values()
]


@pytest.mark.parametrize("section, name", FIELDS)
def test_a_wrong_value_is_refused_in_one_short_line_wherever_it_is_given(section, name):
  known = settings.by_name(*config_lib.sections().values())
  refusals = 0
  for value in VALUES:
    makers = [
      lambda value=value: Config.from_settings(**{name: value}),
      lambda value=value: config_lib.sections()[section](**{name: value}),
    ]
    if isinstance(value, str):
      text = [arguments.Argument(f"--{name}={value}")]
      makers.append(lambda text=text: Config.from_settings(**arguments.parse(text, known)))
    if isinstance(value, (str, int, float, list)) and value != 10**5000:
      content = json.loads(Config().to_json())
      content[section][name] = value
      makers.append(functools.partial(Config.from_json, json.dumps(content)))
    for make in makers:
      try:
        make()
      except settings.InputError as error:
        refusals += 1
        assert re.fullmatch(r"\w+: expected .+, received .+", str(error)), error
        # A list of registered names may be long.
        assert len(str(error).replace(", ".join(registries.SAMPLERS.names()), "")) < 500
  assert refusals >= 20


@pytest.mark.parametrize(
  "name, text, message",
  [
    ("vlb_weight", "1,2", "vlb_weight: expected a number, received '1,2'"),
    ("class_conditional", "0.5", "class_conditional: expected true or false, received '0.5'"),
    ("ema", "0.9,", "ema: expected comma-separated numbers, received '0.9,'"),
    ("batch_size", "1e3", "batch_size: expected a whole number, received '1e3'"),
  ],
)
def test_texts_of_another_kind(name, text, message, tmp_path):
  path = tmp_path / "a.flags"
  path.write_text(f"--{name}={text}\n")
  with pytest.raises(settings.InputError) as caught:
    Config.from_flagfile(path)
  assert str(caught.value) == f"{message} ({path}, line 1)"
  with pytest.raises(settings.InputError, match=rf"^{name}: expected .+, received '{text}'$"):
    Config.from_settings(**{name: text})


def test_sections_convert_what_notebooks_have():
  network = NetworkConfig(base_channels=np.int64(64), channel_multipliers=[1, 2])
  assert network == NetworkConfig(base_channels=64, channel_multipliers=(1, 2))
  assert type(network.base_channels) is int and hash(network)
  assert DataConfig(data_dir=pathlib.Path("x")).data_dir == "x"
