"""Synthetic results of every experiment of the small scale, with which all claims are known."""

from collections.abc import Iterator
from collections.abc import Sequence
import json
import pathlib
import re
from typing import Any

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import pictures
from iddpm_tf.models import model_dir
from iddpm_tf.networks import cost
from trainers.reproduction import scales

SMALL = scales.SCALES["small"]
# Bits/dim of each kind of model. The seed of number s, from 0 on, adds 0.1 s to all of them.
NLL = {
  "linear_1k_simple": 4.0,
  "linear_4k_simple": 3.8,
  "linear_4k_hybrid": 3.7,
  "cosine_4k_simple": 3.6,
  "cosine_4k_hybrid": 3.9,
  "cosine_4k_hybrid_log_variance": 4.2,
  "cosine_4k_vlb": 3.5,
  "noise_hybrid": 3.4,
  "noise_hybrid_resampled": 3.39,
  "noise_vlb": 3.45,
  "noise_vlb_resampled": 3.3,
}
TRACE = {"noise_hybrid": 10.0, "noise_vlb": 1000.0, "noise_vlb_resampled": 100.0}


def run_command(command: str, arguments: Sequence[str]) -> int:
  """Writes the files that a command would write, and returns its exit status."""
  flags = dict(
    argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument
  )
  match = re.search(r"(?:photos_small|digits)_([\w.]+)_seed(\d+)$", flags["model_dir"])
  assert match is not None
  name, seed = match[1], int(match[2]) - SMALL.seeds[0]
  folder = pathlib.Path(flags.get("output_dir", flags["model_dir"]))
  folder.mkdir(parents=True, exist_ok=True)
  if command == "train":
    _train(folder, name, seed, flags)
  elif command == "sample":
    for sampler in flags["samplers"].split(","):
      first = sampler.replace(":", "_")
      names = [first]
      if "upsampler_sampler" in flags:
        names.append(f"{first}_upsampled_{flags['upsampler_sampler'].replace(':', '_')}")
      for name in names:
        pictures.write_png(folder / f"{name}.png", np.zeros([4, 4, 3], np.uint8))
  else:
    step = int(flags.get("step", model_dir.ModelDir(flags["model_dir"]).newest_step()))
    with open(folder / "results.jsonl", "a", encoding="utf-8") as file:
      for result in _results(folder, name, seed, flags):
        file.write(json.dumps({"training_step": step} | result) + "\n")
  return 0


def _train(folder: pathlib.Path, name: str, seed: int, flags: dict[str, str]) -> None:
  checkpoints = folder / "checkpoints"
  checkpoints.mkdir(exist_ok=True)
  for step in (flags["train_steps"], flags.get("keep_every")):
    if step:
      (checkpoints / f"step-{step}.index").touch()
  if "eval_every" in flags:
    _write_scores(folder, name, seed, flags)
  if name.endswith(("_4k_hybrid", "_250_hybrid")):
    # Of the photographs, hardly any v is outside its range; of the digits, a fifth is.
    _write_config(folder, config_lib.NetworkConfig())
    share = 0.2 if folder.name.startswith("digits") else 0.004 + 0.001 * seed
    with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default():
      rate = config_lib.TrainingConfig().ema[0]
      tf.summary.scalar(f"samples_v_out_of_range/ema_{rate}", share, 500)
  if name.endswith("_channels"):
    _write_config(folder, _network(int(flags["base_channels"])))
  if name in TRACE:
    _write_config(folder, config_lib.NetworkConfig())
    _write_curves(folder, TRACE[name] * (1 + 0.01 * seed))


def _network(channels: int) -> config_lib.NetworkConfig:
  return config_lib.NetworkConfig(base_channels=channels, class_conditional=True)


def _config(network: config_lib.NetworkConfig) -> config_lib.Config:
  data = config_lib.DataConfig(image_shape=(8, 8, 1), num_classes=10)
  return config_lib.Config(network=network, data=data)


def network_cost(channels: int) -> float:
  """Returns the FLOPs of a forward pass of a network for Figure 10."""
  return cost.config_cost(_config(_network(channels))).flops


def _write_config(folder: pathlib.Path, network: config_lib.NetworkConfig) -> None:
  model_dir.ModelDir(folder).write_config(_config(network))


def _write_scores(folder: pathlib.Path, name: str, seed: int, flags: dict[str, str]) -> None:
  """Writes the scores of evaluations in training.

  FID is proportional to compute^-0.5. NLL is lowest in evaluation 6 with the linear schedule, and
  in evaluation 3 + s with the cosine schedule and the seed of number s.
  """
  channels = int(flags.get("base_channels", 32))
  _write_config(folder, _network(channels))
  flops = network_cost(channels)
  every = int(flags["eval_every"])
  best_step = every * (6 if "linear" in name else 3 + seed)
  with open(folder / "results.jsonl", "w", encoding="utf-8") as file:
    for step in range(every, int(flags["train_steps"]) + 1, every):
      fid = 1e6 * (flops * step) ** -0.5
      nll = {"nll_train": 4.0, "nll": 4 + abs(step - best_step) / 1e4}
      # Each further moving average has a lower FID, which only Figure 17 shows.
      for i, rate in enumerate(flags.get("ema", "0.99").split(",")):
        scores = {"fid": fid / (1 + i), "fid_infinity": fid, **nll}
        result = {"training_step": step, "ema": float(rate), "in_training": True, "scores": scores}
        file.write(json.dumps(result) + "\n")


def _write_curves(folder: pathlib.Path, trace: float) -> None:
  with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default():
    for step in range(50, SMALL.noise_scale.train_steps + 1, 50):
      tf.summary.scalar("loss/vlb", 4.0, step)
      tf.summary.scalar("gradient_noise/squared_norm", 2.0, step)
      # The first steps are noisier. The averages leave them out.
      noise = trace * (100 if step <= 500 else 1)
      tf.summary.scalar("gradient_noise/trace_of_covariance", noise, step)


def _results(
  folder: pathlib.Path, name: str, seed: int, flags: dict[str, str]
) -> Iterator[dict[str, Any]]:
  """Yields the results of an evaluation."""
  if "samplers" in flags:
    for sampler in flags["samplers"].split(","):
      yield {
        "sampler": sampler.replace(":", "_"),
        "scores": _sample_scores(folder.name, name, seed, sampler, mid="step" in flags),
      }
  else:
    yield _likelihood(folder, name, seed, flags)


def _sample_scores(kind: str, name: str, seed: int, sampler: str, *, mid: bool) -> dict[str, float]:
  """Returns scores. FID of few samples is larger by 1 than that of infinitely many."""
  scores = _scores_of_infinitely_many(kind, name, seed, sampler, mid=mid)
  infinity = {"fid_infinity": scores["fid"], "fid_infinity_standard_error": 0.05}
  return scores | {"fid": scores["fid"] + 1, **infinity}


def _scores_of_infinitely_many(
  kind: str, name: str, seed: int, sampler: str, *, mid: bool
) -> dict[str, float]:
  sampler_name, steps, *skipped = [*sampler.split(":"), "250"][: max(2, sampler.count(":") + 1)]
  if "precision_recall" in kind:
    better = int("64_channels" in name)
    return {
      "fid": 7 - 4 * better,
      "precision_k5": 0.7 + 0.1 * better,
      "recall_k5": 0.6,
      "precision_k3": 0.0,
      "recall_k3": 0.0,
    }
  if "skipping" in kind:
    share = float((skipped or ["skip0"])[0].removeprefix("skip"))
    return {"fid": 2 + share * (1 if "cosine" in name else 0.5 + 0.1 * seed)}
  if sampler_name == "ddim":
    loss = 18 if mid else 9
  else:
    loss = 1 if "hybrid" in name else 50 + 10 * seed
  # Timesteps that are not the sampler's own.
  spaced = {"uniform": 2.0, "quadratic": 0.3, "stride": 0.1}.get("".join(skipped), 0.0)
  fid = 1 + loss / int(steps) + spaced
  return {"fid": 2 * fid if kind.startswith("photos_small_cosine_4k") else fid}


def _likelihood(
  folder: pathlib.Path, name: str, seed: int, flags: dict[str, str]
) -> dict[str, Any]:
  nll = NLL[name] + 0.1 * seed
  if "step" in flags:
    nll += 0.5
  if "ensemble_dir" in flags:
    nll -= 1.0
  total = SMALL.noise_scale.diffusion_steps if name in TRACE else 4000
  evaluated = total
  if "nll_steps" in flags:
    steps, strided = int(flags["nll_steps"]), flags["nll_schedule"] == "strided"
    nll += (0.8 if strided else 0.1) + 0.01 * seed + 1 / steps
    evaluated = steps + (0 if strided else 4000 // steps)
  terms = {
    "terms": [0.08] * 40 + [1e-4] * (total - 40),
    "timesteps": list(range(total)),
  }
  (folder / "terms.json").write_text(json.dumps(terms))
  # The folder may have been moved since the result was written.
  return {"scores": {"nll": nll}, "file": "/another/place/terms.json", "num_timesteps": evaluated}
