"""Compares the quality of models that were trained in different precisions.

    python -m benchmarks.precision_scores --output_dir=bench \
        --model_dirs=runs/digits0,runs/digits1,runs/bfloat0,runs/bfloat1

The models are runs of configs/digits.flags with different training seeds, and some of them with
`--precision=mixed_bfloat16`. Each is evaluated in the precision of its training: the bound of test
images in bits/dim, with every timestep; the share of drawn images that an SVM of real digits
puts into their class; and their FID to the training images. Writes `precision_scores.json`, and a
table in Markdown.
"""

import argparse
import json
import pathlib

import numpy as np
from sklearn import svm

import iddpm_tf as iddpm
from iddpm_tf import api
from iddpm_tf import config as config_lib
from iddpm_tf.data import sources

SCORES = ("bits_per_dim", "recognised", "fid")


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(prog="precision_scores")
  parser.add_argument("--model_dirs", required=True, help="model folders, separated by commas")
  parser.add_argument("--output_dir", type=pathlib.Path, required=True, help="folder to write to")
  parser.add_argument("--samples", type=int, default=2000, help="images to draw of each model")
  parser.add_argument("--images", type=int, default=100, help="test images whose bound is computed")
  parser.add_argument("--sampler", default="ancestral:100", help="sampler of all images")
  options = parser.parse_args()
  options.output_dir.mkdir(parents=True, exist_ok=True)
  train, test = (sources.load(config_lib.DataConfig(), split) for split in ("train", "test"))
  recogniser = svm.SVC(kernel="rbf").fit(_flat(train.images), train.labels)
  rows = []
  for folder in options.model_dirs.split(","):
    model = api.load_run(folder, progress=False)
    images = model.sample(
      options.samples, sampler=options.sampler, labels=range(10), batch_size=500, progress=False
    )
    score = iddpm.score(images, np.asarray(train.images), scores=("fid",), progress=False)
    rows.append(
      {
        "model_dir": folder,
        "precision": model.config.network.precision,
        "seed": model.config.training.seed,
        "bits_per_dim": model.nll(
          test.images[: options.images], test.labels[: options.images], progress=False
        ).mean,
        "recognised": recogniser.score(_flat(images), np.arange(options.samples) % 10),
        "fid": score["fid"],
      }
    )
    print(json.dumps(rows[-1]), flush=True)
    (options.output_dir / "precision_scores.json").write_text(json.dumps(rows, indent=1) + "\n")
  (options.output_dir / "precision_scores.md").write_text(table(rows))


def table(rows: list[dict]) -> str:
  """Returns the scores of each precision over its models: the mean, the lowest and the highest."""
  lines = [
    "| precision | models | bits/dim | recognised | FID |",
    "| --- | --- | --- | --- | --- |",
  ]
  for precision in dict.fromkeys(row["precision"] for row in rows):
    chosen = [row for row in rows if row["precision"] == precision]
    cells = []
    for score, digits in zip(SCORES, (3, 3, 2)):
      values = [row[score] for row in chosen]
      mean, low, high = (f"{value:.{digits}f}" for value in (np.mean(values), *_range(values)))
      cells.append(f"{mean} ({low} to {high})")
    lines.append(f"| `{precision}` | {len(chosen)} | {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def _range(values):
  return min(values), max(values)


def _flat(images):
  return np.asarray(images).reshape(len(images), -1) / 255


if __name__ == "__main__":
  main()
