"""Bits/dim compared with the authors' code: the same network, data, steps and images.

    make reference

The authors' code reaches, on the first 90 test images, 4.16 with L_hybrid and the cosine schedule,
and 4.44 with L_simple, the linear schedule and sigma^2 = beta. One draw of the noise changes the
mean of 90 images by about 0.03, so three draws are averaged.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def command(name, *flags):
  subprocess.run([sys.executable, "-m", f"trainers.{name}", *map(str, flags)], cwd=ROOT, check=True)


@pytest.mark.parametrize(
  "name, theirs", [("digits_hybrid_cosine", 4.16), ("digits_simple_linear", 4.44)]
)
def test_bits_per_dim(tmp_path, name, theirs):
  folder = tmp_path / name
  command("train", f"--flagfile=configs/{name}.flags", f"--model_dir={folder}")
  ours = []
  for seed in range(3):
    command(
      "evaluate",
      f"--model_dir={folder}",
      "--nll",
      "--num_examples=90",
      f"--seed={seed}",
      f"--output_dir={tmp_path}/{seed}",
    )
    (path,) = (tmp_path / str(seed)).glob("*.json")
    ours.append(json.loads(path.read_text())["bits_per_dim"])
  print(
    f"{name}: {np.mean(ours):.4f} bits/dim (one for each seed of the noise: {ours}); the authors' "
    f"code: {theirs}"
  )
  assert np.mean(ours) <= theirs + 0.06
