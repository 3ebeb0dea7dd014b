"""Measures FID against the number of network evaluations, for each sampler.

    python -m benchmarks.solver_scores --model_dirs=runs/a,runs/b,runs/c --output_dir=bench

The models are runs of the same configuration with different training seeds. The reference is their
training data. Writes `solver_scores.json`, a table in Markdown, and a plot. The same command goes
on where it was stopped: what the JSON file holds is not measured again.
"""

import argparse
import json
import pathlib
import sys
import time

import matplotlib
import numpy as np

import iddpm_tf as iddpm
from iddpm_tf import api
from iddpm_tf import settings
from iddpm_tf.data import sources

matplotlib.use("Agg")

from matplotlib import pyplot

EVALUATIONS = (5, 10, 15, 20, 50, 250)
SAMPLERS = (
  "ancestral:{}",
  "ddim:{}:0:uniform",
  "dpmpp_2m:{}",
  "dpmpp_sde:{}",
  "heun:{}",
)


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(prog="solver_scores")
  parser.add_argument("--model_dirs", required=True, help="model folders, separated by commas")
  parser.add_argument("--output_dir", type=pathlib.Path, required=True, help="folder to write to")
  parser.add_argument("--samples", type=int, default=5000, help="images for each score")
  parser.add_argument(
    "--reference", type=int, default=10_000, help="training images to compare with, at most"
  )
  parser.add_argument("--batch_size", type=int, default=500, help="images at a time")
  parser.add_argument("--samplers", default=",".join(SAMPLERS), help="{} is the number of steps")
  parser.add_argument(
    "--evaluations", default=",".join(map(str, EVALUATIONS)), help="of the network"
  )
  options = parser.parse_args()
  options.output_dir.mkdir(parents=True, exist_ok=True)
  path = options.output_dir / "solver_scores.json"
  setup = {
    "model_dirs": options.model_dirs,
    "samples": options.samples,
    "reference": options.reference,
  }
  rows = rows_of(path, setup)
  for number, folder in enumerate(options.model_dirs.split(",")):
    model = api.load_run(folder, progress=False)
    images = sources.load(model.config.data, "train").images
    chosen = np.random.default_rng(0).permutation(len(images))[: options.reference]
    images = np.asarray(images[np.sort(chosen)])
    for evaluations in map(int, options.evaluations.split(",")):
      for template in options.samplers.split(","):
        steps = steps_for(template, evaluations)
        place = {"model": number, "sampler": template, "steps": steps}
        if any(place.items() <= row.items() for row in rows):
          continue
        try:
          row = measure(model, template.format(steps), images, options)
        except settings.InputError as error:  # The sampler has no such number of steps.
          print(f"{template.format(steps)}: {error}", flush=True)
          continue
        rows.append(row | place)
        print(json.dumps(rows[-1]), flush=True)
        path.write_text(json.dumps(setup | {"rows": rows}, indent=1) + "\n")
  (options.output_dir / "solver_scores.md").write_text(table(rows))
  plot(rows, options.output_dir / "solver_scores.png")


def rows_of(path: pathlib.Path, setup: dict) -> list[dict]:
  """Returns what an earlier call has measured with the same settings, of the same models."""
  if not path.exists():
    return []
  content = json.loads(path.read_text())
  rows = content.pop("rows", []) if isinstance(content, dict) else []
  if content != setup:
    sys.exit(f"{path}: expected measurements of {setup}, received those of {content}")
  return rows


def steps_for(template: str, evaluations: int) -> int:
  """Returns the number of steps that take at most this many evaluations."""
  return (evaluations + 1) // 2 if template.startswith("heun") else evaluations


def measure(
  model: "iddpm.Model", sampler: str, reference: np.ndarray, options: argparse.Namespace
) -> dict[str, float]:
  """Returns the evaluations, the seconds per image, and the scores of a sampler."""
  count = {"batch_size": options.batch_size, "progress": False}
  model.sample(1, sampler=sampler, **count)  # Traces the graph.
  model.sample(options.batch_size, sampler=sampler, **count)
  start = time.perf_counter()
  images = model.sample(options.samples, sampler=sampler, **count)
  seconds = (time.perf_counter() - start) / options.samples
  scores = iddpm.score(images, reference, scores=("fid", "kid"), progress=False)
  (parsed,) = model.parse_samplers(sampler)
  evaluations = parsed.num_evaluations(model.config.diffusion.diffusion_steps)
  return {
    "evaluations": evaluations,
    "milliseconds_per_image": 1000 * seconds,
    "fid": scores["fid"],
    "kid": scores["kid"],
  }


def table(rows: list[dict]) -> str:
  """Returns the mean FID over models, and its range, by sampler and number of evaluations.

  The last line has the median time of an image over samplers and models.
  """
  samplers = list(dict.fromkeys(row["sampler"] for row in rows))
  wanted = sorted({_wanted(row) for row in rows})
  lines = ["| sampler | " + " | ".join(map(str, wanted)) + " |", "| --- " * (len(wanted) + 1) + "|"]
  for sampler in samplers:
    cells = []
    for evaluations in wanted:
      fids = [
        row["fid"] for row in rows if row["sampler"] == sampler and _wanted(row) == evaluations
      ]
      shown = f"{np.mean(fids):.2f} ({min(fids):.2f} to {max(fids):.2f})" if fids else ""
      cells.append(shown)
    lines.append(f"| `{sampler.replace('{}', 'N')}` | " + " | ".join(cells) + " |")
  times = [
    np.median([row["milliseconds_per_image"] for row in rows if _wanted(row) == evaluations])
    for evaluations in wanted
  ]
  lines.append("| milliseconds per image | " + " | ".join(f"{time:.1f}" for time in times) + " |")
  return "\n".join(lines) + "\n"


def plot(rows: list[dict], path: pathlib.Path) -> None:
  """Plots the mean FID over models against the evaluations."""
  figure, axis = pyplot.subplots(figsize=(7, 4.5))
  for sampler in dict.fromkeys(row["sampler"] for row in rows):
    points: dict[int, list[float]] = {}
    for row in rows:
      if row["sampler"] == sampler:
        points.setdefault(row["evaluations"], []).append(row["fid"])
    counts = sorted(points)
    means = [np.mean(points[count]) for count in counts]
    axis.plot(counts, means, marker="o", markersize=3, label=sampler.replace("{}", "N"))
  axis.set(xscale="log", yscale="log", xlabel="evaluations of the network", ylabel="FID")
  axis.legend(fontsize=8)
  figure.tight_layout()
  figure.savefig(path, dpi=150)


def _wanted(row: dict) -> int:
  """Returns the number of evaluations that was asked for: Heun's is odd."""
  return row["evaluations"] + (row["sampler"].startswith("heun") and row["evaluations"] % 5 == 4)


if __name__ == "__main__":
  main()
