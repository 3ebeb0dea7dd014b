"""Ten thousand pictures with every oddity, twenty of them broken: inspected, prepared, refused by
name, killed half-way, resumed.

python -m pytest -s tests/long/test_ten_thousand.py
"""

import collections
import io
import json
import pathlib
import resource
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
from PIL import Image
import pytest

from iddpm_tf.config import DataConfig
from iddpm_tf.data import inspection
from iddpm_tf.data import sources

ROOT = pathlib.Path(__file__).parents[2]
COUNT = 10_000
CLASSES = [str(number) for number in range(1, 11)]
FOLDERS = {"train": "Training", "val": "valid", "test": "TESTING"}
MAX_MEMORY = 2**30  # Bytes, of any of the processes.
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


def saved(image, kind, **options):
  file = io.BytesIO()
  image.save(file, format=kind, **options)
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
    (saved(picture, "TIFF"), "a TIFF"),
    (saved(picture, "BMP")[:500], "truncated"),
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


def split_of(i):
  return "train" if i < 8000 else "val" if i < 9000 else "test"


def deep_colours(values):
  """Returns a PNG of colours of 16 bits, which Pillow does not write."""
  height, width, _ = values.shape
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(rows, 1))
    + chunk(b"IEND", b"")
  )


def encoded(i, pixels):
  """Returns a file of a kind that depends on `i`: its extension, its content, and its oddities."""
  image, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
  orientation = i // 20 % 8 + 1
  exif = Image.Exif()
  exif[0x0112] = orientation
  turned = [f"orientation {orientation}"] if orientation > 1 else []
  alpha = Image.fromarray((np.asarray(grey) // 2 + 20).astype(np.uint8))
  with_alpha, grey_with_alpha = image.copy(), grey.copy()
  with_alpha.putalpha(alpha)
  grey_with_alpha.putalpha(alpha)
  palette = image.quantize(64)
  deep = np.asarray(grey).astype(np.uint16)
  thin = Image.fromarray(np.resize(pixels, (2, 3000 + i % 1000, 3)))

  def png(picture, **options):
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=1, **options)
    return file.getvalue()

  kinds = [
    lambda: ("png", png(image), []),
    lambda: ("png", png(grey), []),
    lambda: ("png", png(with_alpha), ["transparent"]),
    lambda: ("png", png(palette), []),
    lambda: ("png", png(grey_with_alpha), ["transparent"]),
    lambda: ("png", png(grey.convert("1")), []),
    lambda: ("png", png(Image.fromarray(deep * 257)), ["16 bits"]),
    lambda: ("png", png(Image.fromarray(deep * 16)), ["16 bits"]),
    lambda: ("jpg", saved(image, "JPEG", exif=exif), turned),
    lambda: ("png", png(image, exif=exif), turned),
    lambda: ("PNG", png(palette, transparency=palette.getpixel((0, 0))), ["transparent"]),
    lambda: ("png", png(image, transparency=image.getpixel((0, 0))), ["transparent"]),
    lambda: ("webp", saved(with_alpha, "WEBP", lossless=True, exif=exif), ["transparent", *turned]),
    lambda: ("gif", saved(palette, "GIF"), []),
    lambda: ("bmp", saved(image, "BMP"), []),
    lambda: ("jfif", saved(image, "JPEG"), []),
    lambda: ("jpeg", saved(image.convert("CMYK"), "JPEG"), []),
    lambda: ("jpe", saved(thin, "JPEG"), []),
    lambda: ("png", deep_colours(pixels.astype(np.uint16) * 257), ["16 bits per channel"]),
    lambda: ("png", png(Image.fromarray(pixels[::-1])), []),
  ]
  return kinds[i % len(kinds)]()


@pytest.fixture(scope="module", name="pictures")
def fixture_pictures(tmp_path_factory):
  """The folder, {name: words of the reason} of what is broken in it, and oddities by split."""
  folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
  base = np.add.outer(np.arange(300), np.arange(300))[..., None] * np.array([1, 2, 3])
  broken = dict.fromkeys(rng.choice(COUNT, 20, replace=False).tolist())
  oddities = {split: collections.Counter() for split in FOLDERS}
  reasons = {}
  for i in range(COUNT):
    height, width = rng.integers(20, 200, 2)
    pixels = (
      (base[:height, :width] + 7 * i + rng.integers(0, 9, (height, width, 1))) % 256
    ).astype(np.uint8)
    extension, content, odd = encoded(i, pixels)
    if i == 0:
      contents = iter(broken_contents(content))
    name = f"{CLASSES[i % 10]}/{i:05d}.{extension}"
    if i in broken:
      content, reasons[f"{split_of(i)}/{name}"] = next(contents)
    else:
      oddities[split_of(i)].update(odd)
    path = folder / FOLDERS[split_of(i)] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  assert len(reasons) == 20 and next(contents, None) is None
  for name in ("valid/1/scan.tif", "Training/notes.txt", "Training/2/Thumbs.db"):
    (folder / name).write_text("x")
  return folder, reasons, oddities


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
  # The largest of all processes that have ended so far, in KiB.
  memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
  print(
    f"{' '.join(flags) or 'prepare'}: {seconds:.1f} s, exit status {result.returncode}, at most "
    f"{memory / 2**20:.0f} MiB"
  )
  assert memory < MAX_MEMORY
  assert "Traceback" not in result.stderr
  return result


def files(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def listed(out, reasons):
  lines = [line for line in out.splitlines() if line.startswith(("train/", "val/", "test/"))]
  assert len(lines) == 20
  for line in lines:
    name, reason = line.split(": ", 1)
    assert reasons[name] in reason, line


def test_ten_thousand(pictures, tmp_path):
  folder, reasons, _ = pictures
  refused = run(folder, tmp_path / "whole")
  assert refused.returncode == 2 and "20 pictures cannot be read" in refused.stderr
  assert "10000/10000" in refused.stderr and "picture/s" in refused.stderr
  listed(refused.stdout, reasons)
  assert not (tmp_path / "whole/index.json").exists()
  skipped = run(folder, tmp_path / "whole", "--unreadable=skip")
  assert skipped.returncode == 0
  images = {split: sum(split_of(i) == split for i in range(COUNT)) for split in FOLDERS}
  for name in reasons:
    images[name.split("/")[0]] -= 1
  for split, count in images.items():
    assert f"{tmp_path}/whole/{split}: {count:,} images" in skipped.stdout
  assert sum(images.values()) == 9980
  assert "splits: train is Training, val is valid, test is TESTING" in skipped.stdout
  listed(skipped.stdout, reasons)

  process = subprocess.Popen(
    command(folder, tmp_path / "killed", "--unreadable=skip"),
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  while not (tmp_path / "killed/train/shard-00009-of-00016.json").exists():
    assert process.poll() is None
    time.sleep(0.01)
  process.kill()
  process.wait()
  done = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").rglob("shard-*.json")}
  assert 10 <= len(done) < 20
  print(f"killed with {len(done)} of 20 shards written")
  resumed = run(folder, tmp_path / "killed", "--unreadable=skip")
  assert resumed.returncode == 0
  assert (
    f"resuming {tmp_path}/killed after {500 * len(done):,} of 10,000 pictures" in resumed.stdout
  )
  assert all(path.stat().st_mtime_ns == at for path, at in done.items())
  assert files(tmp_path / "killed") == files(tmp_path / "whole")

  for split, count in images.items():
    source = sources.load(DataConfig(dataset="records", data_dir=str(tmp_path / "killed")), split)
    assert source.images.shape == (count, 32, 32, 3) and source.class_names == tuple(CLASSES)
    assert abs(np.bincount(source.labels) - count / 10).max() <= 18
  source = sources.load(DataConfig(dataset="records", data_dir=str(tmp_path / "killed")), "train")
  count = len(source.images)
  index, start = np.random.default_rng(0).integers(0, count, (500, 128)), time.perf_counter()
  for batch in index:
    source.images[batch]
  print(f"reading: {index.size / (time.perf_counter() - start):,.0f} images/s in batches of 128")

  # What was prepared has the same totals as inspection says.
  records = ("--dataset=records", f"--data_dir={tmp_path}/whole", "--inspect")
  assert run(folder, tmp_path / "records", *records).returncode == 0
  assert run(folder, tmp_path / "folder", "--inspect").returncode == 0
  totals = [
    json.loads((tmp_path / name / inspection.REPORT).read_text()) for name in ("records", "folder")
  ]
  for split in FOLDERS:
    of_records, of_folder = (
      {
        name: total[split][name]
        for name in (
          *("sizes", "modes", "formats", "labels", "colours", "orientations", "transparent"),
          *("bits", "ranges", "named_otherwise", "readable", "class_names", "unreadable"),
          *("channels", "treatment", "notes"),
        )
      }
      for total in totals
    )
    assert of_records == of_folder


def test_inspection(pictures, tmp_path):
  folder, reasons, oddities = pictures
  result = run(folder, tmp_path / "look", "--inspect")
  assert result.returncode == 0
  print(result.stdout)
  content = json.loads((tmp_path / "look" / inspection.REPORT).read_text())
  unreadable = [
    f"{split}/{name}" for split, report in content.items() for name, _ in report["unreadable"]
  ]
  assert sorted(unreadable) == sorted(reasons)
  for split, counts in oddities.items():
    report = content[split]
    assert report["transparent"] == counts["transparent"]
    assert report["bits"]["16"] == counts["16 bits"]
    assert report["bits"]["16 per channel"] == counts["16 bits per channel"]
    assert report["orientations"] == {
      str(number): counts[f"orientation {number}"] for number in range(2, 9)
    }
    assert report["class_names"] == CLASSES and report["channels"] == 3
  assert content["val"]["ignored"] == ["1/scan.tif"]
  assert content["train"]["ignored"] == ["2/Thumbs.db", "notes.txt"]
