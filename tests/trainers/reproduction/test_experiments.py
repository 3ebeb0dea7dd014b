"""What the experiments make of results files: made-up ones, whose claims are known beforehand."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import pictures
from iddpm_tf.networks import cost
from trainers import reproducing
from trainers.reproduction import report
from trainers.reproduction import scales
from trainers.reproduction import workers
from trainers.reproduction.experiments import fig13

SMALL = scales.SCALES["small"]
# Bits/dim of a row, to which a seed adds 0.1, the same to all.
NLL = {"linear_1k_simple": 4.0, "linear_4k_simple": 3.8, "linear_4k_hybrid": 3.7, "cosine_4k_simple": 3.6,
       "cosine_4k_hybrid": 3.9, "cosine_4k_vlb": 3.5, "noise_hybrid": 3.4, "noise_vlb": 3.45,
       "noise_vlb_resampled": 3.3}
TRACE = {"noise_hybrid": 10.0, "noise_vlb": 1000.0, "noise_vlb_resampled": 100.0}


def finish(command, arguments):
  """Leaves what a command leaves; its status."""
  flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument)
  name, seed = re.search(r"(?:photos_small|digits)_([\w.]+)_seed(\d)$", flags["model_dir"]).groups()
  folder = tf.io.gfile.join(flags.get("output_dir", flags["model_dir"]), "")
  tf.io.gfile.makedirs(folder)
  if command == "train":
    tf.io.gfile.makedirs(f"{folder}checkpoints")
    tf.io.write_file(f"{folder}checkpoints/step-{flags['train_steps']}.index", "")
    if "eval_every" in flags:
      write_scores(folder, name, int(seed), flags)
    if name in TRACE:
      write_curves(folder, TRACE[name] * (1 + 0.01 * int(seed)))
  elif command == "sample":
    pictures.write_png(f"{folder}grid.png", np.zeros([4, 4, 3], np.uint8))
  else:
    lines = list(scored(name, int(seed), flags, folder))
    with open(f"{folder}results.jsonl", "a", encoding="utf-8") as file:
      file.writelines(json.dumps({"training_step": step_of(name)} | line) + "\n" for line in lines)
  return 0


def write_scores(folder, name, seed, flags):
  """Of training: FID falls as compute^-0.5; NLL is least at step 1200 with the linear schedule, at 600 with cosine."""
  channels = int(flags.get("base_channels", 32))
  config = config_lib.Config(
      network=config_lib.NetworkConfig(base_channels=channels, class_conditional=True),
      data=config_lib.DataConfig(image_shape=(8, 8, 1), num_classes=10))
  tf.io.write_file(f"{folder}config.json", config.to_json())
  flops, every = cost.of_config(config).flops, int(flags["eval_every"])
  with open(f"{folder}results.jsonl", "w", encoding="utf-8") as file:
    for step in range(every, int(flags["train_steps"]) + 1, every):
      scores = {"fid": 1e6 * (flops * step) ** -0.5,
                "nll": 4 + abs(step - (1200 if "linear" in name else 600 + 200 * seed)) / 1e4}
      # A later rate is better, which only Figure 17 looks at.
      for i, rate in enumerate(flags.get("ema", "0.99").split(",")):
        line = {"training_step": step, "ema": float(rate), "in_training": True,
                "scores": scores | {"fid": scores["fid"] / (1 + i)}}
        file.write(json.dumps(line) + "\n")


def step_of(name):
  return SMALL.noise_train_steps if name in TRACE else SMALL.train_steps


def write_curves(folder, trace):
  with tf.summary.create_file_writer(f"{folder}tensorboard").as_default():
    for step in range(50, SMALL.noise_train_steps + 1, 50):
      tf.summary.scalar("loss/vlb", 4.0, step)
      tf.summary.scalar("gradient_noise/squared_norm", 2.0, step)
      # Noisier at first, which the averages leave out.
      tf.summary.scalar("gradient_noise/trace_of_covariance", trace * (100 if step <= 500 else 1), step)


def scored(name, seed, flags, folder):
  """Lines of results."""
  if "samplers" in flags:
    for sampler in flags["samplers"].split(","):
      kind, steps, *skip = sampler.split(":")
      if "precision_recall" in flags["output_dir"]:
        better = int("64_channels" in name)
        yield {"scores": {"fid": 7 - 4 * better, "precision_k5": 0.7 + 0.1 * better, "recall_k5": 0.6,
                          "precision_k3": 0.0, "recall_k3": 0.0},
               "sampler": f"{kind}_{steps}", "training_step": SMALL.scaling_train_steps}
        continue
      if "skipping" in flags["output_dir"]:
        share = float((skip or ["skip0"])[0].removeprefix("skip"))
        yield {"scores": {"fid": 2 + share * (1 if "cosine" in name else 0.5 + 0.1 * seed)},
               "sampler": "_".join([kind, steps, *skip]), "training_step": SMALL.fid_train_steps}
        continue
      rise = 1 if "hybrid" in name else 9 if kind == "ddim" else 5 + seed
      yield {"scores": {"fid": 1 + rise / int(steps)}, "sampler": f"{kind}_{steps}",
             "training_step": SMALL.fid_train_steps}
    return
  nll = NLL[name] + 0.1 * seed - 1.0 * ("ensemble_dir" in flags)
  if steps := flags.get("nll_steps"):
    nll += (0.8 if flags["nll_schedule"] == "strided" else 0.1) + 0.01 * seed + 1 / int(steps)
  steps = SMALL.noise_steps if name in TRACE else 4000
  terms = np.r_[np.full(40, 0.08), np.full(steps - 40, 1e-4)]
  with open(f"{folder}terms.json", "w", encoding="utf-8") as file:
    json.dump({"terms": terms.tolist(), "timesteps": list(range(steps))}, file)
  yield {"scores": {"nll": nll}, "file": "/another/place/terms.json"}


@pytest.fixture(name="content", scope="module")
def fixture_content(tmp_path_factory):
  """The numbers of a report of everything."""
  output = tmp_path_factory.mktemp("reproduced")
  assert reproducing.run(list(reproducing.MODULES), SMALL, output, hands=workers.Here(finish)) == 0
  return json.loads((output / report.JSON).read_text())["experiments"]


def claim(content, number):
  (found, *rest) = [claim for section in content.values() for claim in section["claims"] if claim["number"] == number]
  assert all(other == found for other in rest)
  return found, [part["estimate"] for part in found["parts"]]


@pytest.mark.parametrize("number, verdict, estimates", [
    (1, "holds", [0.2]), (4, "fails", [0.1, -0.3]), (5, "fails", [0.2, -0.2]), (3, "holds", [3.2 / 3.596 - 0.5]),
    (6, "holds", [0.1 - 0.06, 0.2 * 0.4]),
    (7, "holds", [2.0]), (8, "holds", [1.0, 0.1, 0.15]), (11, "holds", [1.0, 0.9]),
    (12, "holds", [0.82, 0.7, 0.7 - 0.82 / 2]), (13, "undecided", [400, 0.08]), (14, "holds", [0.5, 0.1])])
def test_claims_follow_from_the_files(content, number, verdict, estimates):
  found, received = claim(content, number)
  assert received == pytest.approx(estimates)
  assert all(len(part["values"]) == 3 for part in found["parts"])
  # Differences within a seed: what the seed adds to both cancels.
  if number in (1, 4, 5):
    assert found["verdict"] == verdict
    assert all(part["high"] - part["low"] < 1e-9 for part in found["parts"])
  assert found["verdict"] == verdict


def test_claims_of_figure_8(content):
  found, (keeps, large, small) = claim(content, 9)
  assert keeps == pytest.approx(2 - 1.04 / 1.01)
  assert large == small == pytest.approx((6 - 1) * (1 / 25 - 1 / 100)) and found["verdict"] == "holds"
  found, estimates = claim(content, 10)
  assert estimates == pytest.approx([-8 / 5, -8 / 10, -8 / 25, 8 / 100]) and found["verdict"] == "fails"


def test_tables_have_the_papers_numbers_beside_ours(content):
  rows = content["table2"]["tables"][0]["rows"]
  assert [row[3:5] for row in rows] == [[3.73, 3.29], [3.37, 2.90], [3.26, 3.07], [3.26, 3.05], [3.17, 3.19],
                                        [2.94, 11.47]]
  assert [row[5] for row in rows] == pytest.approx([NLL[str(row)] + 0.1 for row in scales.ROWS])
  assert [row[3:5] for row in content["table1"]["tables"][0]["rows"]] == [
      [3.99, 32.5], [3.77, 31.3], [3.66, 32.2], [3.68, 27.0], [3.62, 28.0], [3.57, 56.7]]


def test_table_4_of_two_sizes(content):
  gan, small, large = content["table4"]["tables"][0]["rows"]
  assert gan[1:] == [4.06, 0.86, 0.59, None, None, None, None]
  assert small[1:4] == [6.92, 0.77, 0.72] and small[5:] == [7, 0.7, 0.6]
  assert large[1:4] == [2.92, 0.82, 0.71] and large[5:] == [3, pytest.approx(0.8), 0.6]
  assert float(large[4][:-1]) > 3 * float(small[4][:-1])


def test_figure_17_of_each_dropout_and_rate(content):
  rows = content["fig17"]["tables"][0]["rows"]
  assert [row[:2] for row in rows] == [[dropout, rate] for dropout in (0, 0.1, 0.3) for rate in SMALL.sweep_ema]
  first, second, third = (row[2] for row in rows[:3])
  assert first == pytest.approx(2 * second) and first == pytest.approx(3 * third)
  assert all(row[3] == SMALL.sweep_train_steps and row[2] == row[4] for row in rows)


@pytest.mark.parametrize("scale", [scales.SCALES["small"], scales.SCALES["cifar10"], scales.SCALES["imagenet64"]],
                         ids=lambda scale: scale.name)
def test_the_ensemble_is_of_models_of_one_process(scale):
  for task in fig13.needs(scale):
    steps = [flag.partition("=")[2] for flag in task.flags if flag.startswith("--ensemble_steps")]
    assert steps == ([str((1000 if scale.name == "small" else 4000) // 40)] if task.ends else [])


def test_every_experiment_is_in_the_report(content):
  assert list(content) == list(reproducing.MODULES)
  assert {found["number"] for section in content.values() for found in section["claims"]} == {
      1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
