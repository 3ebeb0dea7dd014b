"""Every experiment at the paper's scales, with the real commands, on stand-in data.

The data has the shapes of CIFAR-10 and of ImageNet-64. The networks are narrow and have few
timesteps, trainings take two steps, and scores have few images, so that the reports mean nothing;
that they are made is tested.
"""

import dataclasses
import json
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from iddpm_tf import config as config_lib
from iddpm_tf.data.records import preparation
from trainers.reproduction import experiments
from trainers.reproduction import report
from trainers.reproduction import scales
from trainers.reproduction import shared_tasks

_TIMESTEPS = 400  # More than the 139 of Appendix E's schedule.
_NARROW = (
  "--base_channels=32",
  "--channel_multipliers=1,1",
  "--num_res_blocks=1",
  "--attention_resolutions=",
  f"--diffusion_steps={_TIMESTEPS}",
  "--batch_size=8",
  "--num_samples=4",
  "--samplers=ancestral:2",
)


def stand_in(scale):
  """Returns a scale with the same tasks, which take seconds each."""
  models = dataclasses.replace(scale.likelihood_models, train_steps=2, flags=_NARROW)
  likelihood = scales.Likelihood(
    nll_flags=("--nll", "--num_examples=2", "--nll_stderr=1"),
    terms_flags=("--nll", "--num_examples=1"),
    ensemble_flags=("--nll", "--num_examples=1"),
    num_steps=(25, 100),
  )
  fid = dataclasses.replace(
    scale.fid,
    num_samples=20,
    num_steps=(5, 25, 100),
    most_steps=200,
    default_steps=10,
    quality_samples=20,
  )
  sizes = scale.sizes and dataclasses.replace(
    scale.sizes,
    flagfiles={name: (path, 2) for name, (path, _) in scale.sizes.flagfiles.items()},
    flags=(*scale.sizes.flags, *_NARROW),
  )
  return dataclasses.replace(
    scale,
    likelihood_models=models,
    fid_models=models,
    sampler="ancestral:10",
    likelihood=likelihood,
    fid=fid,
    eval_flags=("--eval_samples=20", "--eval_examples=2", "--samplers=ancestral:5"),
    noise_scale=dataclasses.replace(
      scale.noise_scale, diffusion_steps=_TIMESTEPS, train_steps=4, flags=("--log_every=1",)
    ),
    overfitting=dataclasses.replace(scale.overfitting, train_steps=2, evaluations=2),
    ema_sweep=scales.EmaSweep(rates=(0.9, 0.97, 0.99), train_steps=2, evaluations=2),
    scaling=dataclasses.replace(scale.scaling, widths=(32, 64), train_steps=2, evaluations=2),
    sizes=sizes,
  )


@pytest.fixture(name="flags")
def fixture_flags(request, tmp_path):
  """A scale, and the flags of its data, which is there while the command runs."""
  if request.param == "cifar10":
    with tfds.testing.mock_data(num_examples=80):
      yield request.param, ("--workers=1",)  # Other processes have no such data.
    return
  yield request.param, (f"--data_dir={imagenet_records(tmp_path)}", "--workers=2")


def imagenet_records(folder):
  """Returns records of made-up batches of ImageNet-64, in the layout of its makers."""
  rng = np.random.default_rng(0)
  batches = folder / "batches"
  batches.mkdir()
  for name, count in (("train_data_batch_1", 80), ("val_data", 10)):
    data = rng.integers(0, 256, (count, 64 * 64 * 3), dtype=np.uint8)
    labels = np.append(1000, rng.integers(1, 1001, count - 1))
    np.savez(batches / f"{name}.npz", data=data, labels=labels)
  config = config_lib.DataConfig(dataset="imagenet_npz", data_dir=str(batches), image_size=64)
  preparation.prepare(config, folder / "records")
  return folder / "records"


def reproduce(run, monkeypatch, flags, output, *names):
  """Runs the command, and returns the experiments of its report."""
  scale, more_flags = flags
  monkeypatch.setitem(scales.SCALES, scale, stand_in(scales.SCALES[scale]))
  # The rows of the tables have 1000 or 4000 timesteps.
  monkeypatch.setattr(shared_tasks, "all_steps_sampler", lambda *_: "ancestral")
  started = time.monotonic()
  result = run(
    "reproduce",
    f"--experiment={','.join(names)}",
    f"--scale={scale}",
    "--features=random",
    f"--output_dir={output}",
    *more_flags,
  )
  assert result.status == 0, result.err[-2000:]
  count = len(list((output / "done").glob("*.json")))
  print(f"{scale}: {count} tasks in {(time.monotonic() - started) / 60:.1f} minutes")
  return json.loads((output / report.JSON).read_text())["experiments"]


@pytest.mark.parametrize("flags", ["cifar10", "imagenet64"], indirect=True)
def test_every_experiment_reaches_its_report(run, monkeypatch, flags, tmp_path, shared_graphs):
  content = reproduce(run, monkeypatch, flags, tmp_path / "reproduced", *experiments.names())
  assert list(content) == list(experiments.names())
