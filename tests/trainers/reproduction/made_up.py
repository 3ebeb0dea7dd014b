"""Made-up results of every experiment of the small scale, whose claims are known beforehand."""

import json
import pathlib
import re

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import pictures
from iddpm_tf.networks import cost
from trainers.reproduction import scales

SMALL = scales.SCALES["small"]
# Bits/dim of a row, to which a seed adds 0.1, the same to all.
NLL = {
  "linear_1k_simple": 4.0,
  "linear_4k_simple": 3.8,
  "linear_4k_hybrid": 3.7,
  "cosine_4k_simple": 3.6,
  "cosine_4k_hybrid": 3.9,
  "cosine_4k_vlb": 3.5,
  "noise_hybrid": 3.4,
  "noise_vlb": 3.45,
  "noise_vlb_resampled": 3.3,
}
TRACE = {"noise_hybrid": 10.0, "noise_vlb": 1000.0, "noise_vlb_resampled": 100.0}


def finish(command, arguments):
  """Leaves what a command leaves; its status."""
  flags = dict(
    argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument
  )
  name, seed = re.search(r"(?:photos_small|digits)_([\w.]+)_seed(\d)$", flags["model_dir"]).groups()
  folder = tf.io.gfile.join(flags.get("output_dir", flags["model_dir"]), "")
  tf.io.gfile.makedirs(folder)
  if command == "train":
    tf.io.gfile.makedirs(f"{folder}checkpoints")
    tf.io.write_file(f"{folder}checkpoints/step-{flags['train_steps']}.index", "")
    if "eval_every" in flags:
      write_scores(folder, name, int(seed), flags)
    if name in TRACE:
      write_config(folder)
      write_curves(folder, TRACE[name] * (1 + 0.01 * int(seed)))
  elif command == "sample":
    pictures.write_png(
      f"{folder}{flags['samplers'].replace(':', '_')}.png", np.zeros([4, 4, 3], np.uint8)
    )
  else:
    lines = list(scored(name, int(seed), flags, folder))
    with open(f"{folder}results.jsonl", "a", encoding="utf-8") as file:
      file.writelines(
        json.dumps({"training_step": step_of(flags["model_dir"])} | line) + "\n" for line in lines
      )
  return 0


def write_config(folder, network=config_lib.NetworkConfig()):
  config = config_lib.Config(
    network=network, data=config_lib.DataConfig(image_shape=(8, 8, 1), num_classes=10)
  )
  tf.io.write_file(f"{folder}config.json", config.to_json())
  return config


def write_scores(folder, name, seed, flags):
  """Of training: FID falls as compute^-0.5; NLL is least at step 1200 with the linear schedule, at 600 with cosine."""
  channels = int(flags.get("base_channels", 32))
  config = write_config(
    folder, config_lib.NetworkConfig(base_channels=channels, class_conditional=True)
  )
  flops, every = cost.config_cost(config).flops, int(flags["eval_every"])
  with open(f"{folder}results.jsonl", "w", encoding="utf-8") as file:
    for step in range(every, int(flags["train_steps"]) + 1, every):
      scores = {
        "fid": 1e6 * (flops * step) ** -0.5,
        "nll_train": 4.0,
        "nll": 4 + abs(step - (1200 if "linear" in name else 600 + 200 * seed)) / 1e4,
      }
      # A later rate is better, which only Figure 17 looks at.
      for i, rate in enumerate(flags.get("ema", "0.99").split(",")):
        line = {
          "training_step": step,
          "ema": float(rate),
          "in_training": True,
          "scores": scores | {"fid": scores["fid"] / (1 + i)},
        }
        file.write(json.dumps(line) + "\n")


def step_of(model_dir):
  (path,) = pathlib.Path(model_dir, "checkpoints").glob("step-*.index")
  return int(path.stem.removeprefix("step-"))


def write_curves(folder, trace):
  with tf.summary.create_file_writer(f"{folder}tensorboard").as_default():
    for step in range(50, SMALL.noise_train_steps + 1, 50):
      tf.summary.scalar("loss/vlb", 4.0, step)
      tf.summary.scalar("gradient_noise/squared_norm", 2.0, step)
      # Noisier at first, which the averages leave out.
      tf.summary.scalar(
        "gradient_noise/trace_of_covariance", trace * (100 if step <= 500 else 1), step
      )


def scored(name, seed, flags, folder):
  """Lines of results."""
  if "samplers" in flags:
    for sampler in flags["samplers"].split(","):
      kind, steps, *skip = sampler.split(":")
      if "precision_recall" in flags["output_dir"]:
        better = int("64_channels" in name)
        yield {
          "scores": {
            "fid": 7 - 4 * better,
            "precision_k5": 0.7 + 0.1 * better,
            "recall_k5": 0.6,
            "precision_k3": 0.0,
            "recall_k3": 0.0,
          },
          "sampler": f"{kind}_{steps}",
        }
        continue
      if "skipping" in flags["output_dir"]:
        share = float((skip or ["skip0"])[0].removeprefix("skip"))
        yield {
          "scores": {"fid": 2 + share * (1 if "cosine" in name else 0.5 + 0.1 * seed)},
          "sampler": "_".join([kind, steps, *skip]),
        }
        continue
      rise = 1 if "hybrid" in name else 9 if kind == "ddim" else 50 + 10 * seed
      yield {"scores": {"fid": 1 + rise / int(steps)}, "sampler": f"{kind}_{steps}"}
    return
  nll = (
    NLL[name.removesuffix("_mid")]
    + 0.5 * name.endswith("_mid")
    + 0.1 * seed
    - 1.0 * ("ensemble_dir" in flags)
  )
  if few := flags.get("nll_steps"):
    nll += (0.8 if flags["nll_schedule"] == "strided" else 0.1) + 0.01 * seed + 1 / int(few)
  steps = SMALL.noise_steps if name in TRACE else 4000
  terms = np.r_[np.full(40, 0.08), np.full(steps - 40, 1e-4)]
  with open(f"{folder}terms.json", "w", encoding="utf-8") as file:
    json.dump({"terms": terms.tolist(), "timesteps": list(range(steps))}, file)
  few = int(flags.get("nll_steps", 0))
  taken = steps if not few else few + (4000 // few if flags["nll_schedule"] == "dense_start" else 0)
  yield {"scores": {"nll": nll}, "file": "/another/place/terms.json", "num_timesteps": taken}
