"""Measures fidelity and diversity of guided digits against the scale, by both kinds of guidance.

    python -m benchmarks.guidance_scores --model_dir=runs/guided --classifier_dir=runs/classifier \
        --output_dir=bench

The model was trained on the digits with `--label_dropout`. The classifier guides what it draws
without the class, so that at a scale of 0 both kinds draw the same images, and also what it draws
with the class. Fidelity is the share of images that an SVM of real digits puts into their class.
Diversity is the recall of Kynkäänniemi et al. (2019) with the features of the digits. Writes
`guidance_scores.json`, a table in Markdown, and a plot.
"""

import argparse
import json
import pathlib

import matplotlib
import numpy as np
from sklearn import svm

import iddpm_tf as iddpm
from iddpm_tf import api
from iddpm_tf import config as config_lib
from iddpm_tf.data import sources

matplotlib.use("Agg")

from matplotlib import pyplot

SCALES = (0.0, 0.5, 1.0, 2.0, 4.0)
MORE_SCALES = (8.0, 16.0)  # For a classifier, whose scales are larger.
# The scale without a classifier, and of the classifier, as functions of the plotted one.
KINDS = {
  "without a classifier": lambda scale: (scale, None),
  "by a classifier": lambda scale: (0.0, scale),
  "by the class and a classifier": lambda scale: (1.0, scale),
}


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(prog="guidance_scores")
  parser.add_argument("--model_dir", required=True, help="model trained with --label_dropout")
  parser.add_argument("--classifier_dir", required=True, help="classifier of noisy digits")
  parser.add_argument("--output_dir", type=pathlib.Path, required=True, help="folder to write to")
  parser.add_argument("--sampler", default="ancestral:100", help="sampler of all images")
  parser.add_argument("--samples", type=int, default=2000, help="images of each scale")
  options = parser.parse_args()
  options.output_dir.mkdir(parents=True, exist_ok=True)
  real = sources.load(config_lib.DataConfig(), "train")
  images_of_training = np.asarray(real.images)
  recogniser = svm.SVC(kernel="rbf").fit(_flat(real.images), real.labels)
  unguided = api.load_run(options.model_dir, progress=False)
  guided = api.load_run(options.model_dir, classifier=options.classifier_dir, progress=False)
  labels = np.arange(options.samples) % 10
  rows = []
  for kind, scales_of in KINDS.items():
    has_classifier = scales_of(0.0)[1] is not None
    model = guided if has_classifier else unguided
    for scale in SCALES + (MORE_SCALES if has_classifier else ()):
      guidance_scale, classifier_scale = scales_of(scale)
      images = model.sample(
        options.samples,
        sampler=options.sampler,
        labels=range(10),
        batch_size=500,
        progress=False,
        guidance_scale=guidance_scale,
        classifier_scale=classifier_scale,
      )
      scores = iddpm.score(
        images, images_of_training, scores=("fid", "precision_recall"), progress=False
      )
      accuracy = recogniser.score(_flat(images), labels)
      rows.append({"kind": kind, "scale": scale, "accuracy": accuracy} | scores)
      print(json.dumps(rows[-1]), flush=True)
  (options.output_dir / "guidance_scores.json").write_text(json.dumps(rows, indent=1) + "\n")
  (options.output_dir / "guidance_scores.md").write_text(table(rows))
  plot(rows, options.output_dir / "guidance_scores.png")


def table(rows: list[dict]) -> str:
  """Returns the scores of each kind and scale as a table in Markdown."""
  lines = [
    "| guidance | scale | recognised | precision (k = 3) | recall (k = 3) | FID |",
    "| --- | --- | --- | --- | --- | --- |",
  ]
  lines += [
    f"| {row['kind']} | {row['scale']:g} | {row['accuracy']:.1%} | {row['precision_k3']:.3f} | "
    f"{row['recall_k3']:.3f} | {row['fid']:.2f} |"
    for row in rows
  ]
  return "\n".join(lines) + "\n"


def plot(rows: list[dict], path: pathlib.Path) -> None:
  """Plots accuracy and recall against the scale."""
  figure, axes = pyplot.subplots(1, 2, figsize=(9, 4))
  names = (("accuracy", "share that the SVM recognises"), ("recall_k3", "recall (k = 3)"))
  for axis, (score, name) in zip(axes, names):
    for kind in dict.fromkeys(row["kind"] for row in rows):
      points = [(row["scale"], row[score]) for row in rows if row["kind"] == kind]
      axis.plot(*zip(*points), marker="o", label=kind)
    axis.set(xlabel="scale", ylabel=name, xscale="symlog")
  axes[0].legend(loc="lower right")
  figure.tight_layout()
  figure.savefig(path, dpi=150)


def _flat(images):
  return np.asarray(images).reshape(len(images), -1) / 255


if __name__ == "__main__":
  main()
