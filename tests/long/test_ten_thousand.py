"""Ten thousand pictures, twenty of them broken: prepared, refused by name, killed half-way,
resumed.

python -m pytest -s tests/long/test_ten_thousand.py
"""

import io
import pathlib
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
from PIL import Image
import pytest

from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources

ROOT = pathlib.Path(__file__).parents[2]
COUNT = 10_000
MODES = ("RGB", "L", "RGBA", "P", "LA", "1", "I;16")
FLAGS = ("--dataset=folder", "--image_size=32", "--shard_size=500")


def chunk(kind, data):
  return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb():
  """A few kilobytes that unpack to 30,000 x 30,000 pixels."""
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0" * (3751 * 30_000), 9))
    + chunk(b"IEND", b"")
  )


def saved(image, kind):
  file = io.BytesIO()
  image.save(file, format=kind)
  return file.getvalue()


def broken_contents(png):
  """Returns twenty files that cannot be read, each with words of the reason."""
  picture = Image.open(io.BytesIO(png)).convert("RGB")
  flipped = bytearray(png)
  flipped[len(png) // 2] ^= 0xFF
  return [
    *[(png[: len(png) * i // 6], "truncated") for i in range(1, 6)],
    *[(b"", "empty")] * 3,
    *[(text, "not a picture") for text in (b"hello", b"<html>404 Not Found</html>", b"\0" * 5000)],
    *[(saved(picture, "TIFF"), "a TIFF")],
    (b"%PDF-1.7 ...", "a PDF"),
    (b"\0\0\0\x1cftypavif" + b"\0" * 99, "AVIF"),
    *[(bomb(), "too large")] * 2,
    (bytes(flipped), "cannot be decoded"),
    (
      b"\x89PNG\r\n\x1a\n"
      + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 9, 8, 2, 0, 0, 0))
      + chunk(b"IEND", b""),
      "no pixels",
    ),
    (saved(picture, "JPEG")[:300], "truncated"),
  ]


@pytest.fixture(scope="module", name="pictures")
def fixture_pictures(tmp_path_factory):
  """The folder, and {name: words of the reason} of what is broken in it."""
  folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
  base = np.add.outer(np.arange(300), np.arange(300))[..., None] * np.array([1, 2, 3])
  for i in range(COUNT):
    height, width = rng.integers(20, 200, 2)
    image = Image.fromarray(
      ((base[:height, :width] + 7 * i + rng.integers(0, 9, (height, width, 1))) % 256).astype(
        np.uint8
      )
    )
    mode = MODES[i % len(MODES)]
    if mode == "I;16":
      image = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)
    path = folder / f"class{i % 10}" / f"{i:05d}.png"
    path.parent.mkdir(exist_ok=True)
    (image if mode == "I;16" else image.convert(mode)).save(path, compress_level=1)
  contents = broken_contents((folder / "class0/00000.png").read_bytes())
  assert len(contents) == 20
  reasons = {}
  for i, (content, words) in zip(rng.choice(COUNT, 20, replace=False), contents):
    name = f"class{i % 10}/{i:05d}.png"
    (folder / name).write_bytes(content)
    reasons[name] = words
  return folder, reasons


def command(pictures, output, *flags):
  return [
    sys.executable,
    "-m",
    "trainers.prepare_data",
    *FLAGS,
    f"--data_dir={pictures}",
    f"--output_dir={output}",
    *flags,
  ]


def run(pictures, output, *flags):
  start = time.perf_counter()
  result = subprocess.run(
    command(pictures, output, *flags), cwd=ROOT, check=False, capture_output=True, text=True
  )
  seconds = time.perf_counter() - start
  print(f"{' '.join(flags) or 'prepare'}: {seconds:.1f} s, exit status {result.returncode}")
  assert "Traceback" not in result.stderr
  return result


def files(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def listed(out, reasons):
  lines = [
    line.removeprefix("train/") for line in out.splitlines() if line.startswith("train/class")
  ]
  assert len(lines) == 20
  for line in lines:
    name, reason = line.split(": ", 1)
    assert reasons[name] in reason, line


def test_ten_thousand(pictures, tmp_path):
  folder, reasons = pictures
  refused = run(folder, tmp_path / "whole")
  assert refused.returncode == 2 and "20 pictures cannot be read" in refused.stderr
  assert "10000/10000" in refused.stderr and "picture/s" in refused.stderr
  listed(refused.stdout, reasons)
  assert not (tmp_path / "whole/index.json").exists()
  skipped = run(folder, tmp_path / "whole", "--unreadable=skip")
  assert skipped.returncode == 0 and "9,980 images" in skipped.stdout
  listed(skipped.stdout, reasons)

  process = subprocess.Popen(
    command(folder, tmp_path / "killed", "--unreadable=skip"),
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  while not (tmp_path / "killed/train/shard-00009-of-00020.json").exists():
    assert process.poll() is None
    time.sleep(0.01)
  process.kill()
  process.wait()
  done = {
    path: path.stat().st_mtime_ns for path in (tmp_path / "killed/train").glob("shard-*.json")
  }
  assert 10 <= len(done) < 20
  print(f"killed with {len(done)} of 20 shards written")
  resumed = run(folder, tmp_path / "killed", "--unreadable=skip")
  assert resumed.returncode == 0
  assert (
    f"resuming {tmp_path}/killed after {500 * len(done):,} of 10,000 pictures" in resumed.stdout
  )
  assert all(path.stat().st_mtime_ns == at for path, at in done.items())
  assert files(tmp_path / "killed") == files(tmp_path / "whole")

  source = sources.load(DataConfig(dataset="records", data_dir=str(tmp_path / "killed")), "train")
  assert source.images.shape == (9980, 32, 32, 3) and source.num_classes == 10
  assert abs(np.bincount(source.labels) - 998).max() <= 18
  index, start = np.random.default_rng(0).integers(0, 9980, (500, 128)), time.perf_counter()
  for batch in index:
    source.images[batch]
  print(f"reading: {index.size / (time.perf_counter() - start):,.0f} images/s in batches of 128")


def test_inspection(pictures, tmp_path):
  result = run(pictures[0], tmp_path / "look", "--inspect")
  assert result.returncode == 0 and "unreadable: 20" in result.stdout
  print(result.stdout)
