"""`trainers.client`: the images it writes, and what it refuses."""

import importlib.util

import numpy as np
from PIL import Image
import pytest

from trainers import client


def run(*flags):
  return client.COMMAND.run(["client", *map(str, flags)])


NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_it_writes_the_images_of_the_model(server, drawn, tmp_path, protocol, capsys):
  where = f"--address={server.address}" if protocol == "grpc" else f"--url={server.url}"
  status = run(
    where,
    "--model=small",
    "--signature=ancestral_5",
    "--num_samples=12",
    "--batch_size=12",
    "--labels=0,1,2,3,4,5,6,7,8,9" if protocol == "grpc" else f"--labels={','.join(NAMES)}",
    f"--output_dir={tmp_path}",
  )
  assert status == 0 and "wrote 12 images" in capsys.readouterr().out
  images = [np.asarray(Image.open(tmp_path / f"{seed:06d}.png")) for seed in range(12)]
  np.testing.assert_array_equal(images, drawn["ancestral_5"][..., 0])
  assert Image.open(tmp_path / client.GRID).size[0] > 64


@pytest.mark.parametrize(
  "flags, message",
  [
    ((), "--address: expected HOST:PORT of a server"),
    (("--address=",), "--address: expected HOST:PORT of a server"),
    (("--address=a:1", "--url=http://a"), "--address: cannot be combined with url"),
    *(
      ((f"--address={address}",), "--address: expected HOST:PORT, received")
      for address in (
        "127.0.0.1",
        "127.0.0.1:99999",
        "http://127.0.0.1:8500",
        "a:b:3",
        "a:0",
        "u@a:3",
      )
    ),
    *(
      ((f"--url={url}",), "--url: expected http://HOST:PORT")
      for url in ("http://[", "ftp://127.0.0.1", "127.0.0.1:8501", "http://", "http://a:b")
    ),
    (("--timeout=inf",), "--timeout"),
    (("--num_samples=1000000000000000",), "--num_samples"),
    (("--num_samples=0",), "--num_samples"),
    (("--seed=-1",), "--seed"),
    (("--seed=9223372036854775807",), "--seed"),
    (("--labels=-1",), "--labels"),
    (("--labels=4294967296",), "--labels"),
    (("--model_version=-1",), "--model_version"),
    (("--base_channels=3",), "--base_channels: there is no such flag"),
  ],
)
def test_wrong_flags_are_refused_in_one_line(flags, message, tmp_path, capsys):
  assert run("--model=m", f"--output_dir={tmp_path / 'drawn'}", *flags) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert message in line and not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["model", "output_dir"])
def test_required_flags_are_named(missing, capsys):
  flags = {"model": "m", "output_dir": "o"}
  del flags[missing]
  assert run("--url=http://a:1", *(f"--{name}={value}" for name, value in flags.items())) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f"client: --{missing}: expected")


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--signature=ddim_6",), "--signature: expected one of"),
    (("--signature=png_ddim_5",), "--signature: expected the name of a sampler"),
    (("--labels=10",), "--labels: expected classes from 0 to 9, received [10]"),
    (("--labels=zero,sevn",), "received 'sevn'; did you mean seven?"),
    (("--model_version=3",), "version: expected 1"),
  ],
)
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_refusals_of_the_server_are_one_line(server, tmp_path, protocol, flags, message, capsys):
  where = f"--address={server.address}" if protocol == "grpc" else f"--url={server.url}"
  assert run(where, "--model=small", f"--output_dir={tmp_path / 'drawn'}", *flags) == 2
  line = capsys.readouterr().err.splitlines()[-1]
  assert message in line and not list(tmp_path.rglob("*.png"))


def test_a_server_that_does_not_exist(tmp_path, capsys):
  common = ("--model=small", "--attempts=1", f"--output_dir={tmp_path}")
  assert run("--address=127.0.0.1:1", *common) == 2
  assert "127.0.0.1:1: UNAVAILABLE" in capsys.readouterr().err
  assert run("--url=http://127.0.0.1:1", *common) == 2
  assert "http://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["--url=http://a:1", "--address=a:1"])
def test_a_missing_package_is_named(where, monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  assert run(where, "--model=m", f"--output_dir={tmp_path}") == 2
  assert "pip install 'iddpm_tf[serving]'" in capsys.readouterr().err


def test_an_unexpected_answer_is_one_line(fake_server, tmp_path, capsys):
  fake_server.answer, fake_server.statuses = {"outputs": [[[[300]]]]}, [200]
  flags = ("--model=m", "--num_samples=1", f"--output_dir={tmp_path}")
  assert run(f"--url={fake_server.url}", *flags) == 2
  assert "expected" in capsys.readouterr().err.splitlines()[-1] and not list(tmp_path.iterdir())


def test_an_export_without_names_of_classes_takes_numbers(fake_server, tmp_path, capsys):
  fake_server.signatures = {"serving_default": {"inputs": {"seed": {}, "label": {}}}}
  fake_server.statuses = [200]
  flags = (f"--url={fake_server.url}", "--model=m", "--num_samples=1", f"--output_dir={tmp_path}")
  assert run(*flags, "--labels=cat,2") == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line == (
    "client: --labels: expected numbers, because the export of m has no names of classes, received "
    "cat,2; an export by this version has the names that its model folder has"
  )
  assert run(*flags, "--labels=2") == 0 and fake_server.bodies[0]["inputs"]["label"] == [2]


def test_images_before_a_failure_are_kept(fake_server, tmp_path, capsys):
  fake_server.statuses = [200, 200, 400]
  flags = ("--model=m", "--num_samples=3", "--batch_size=1", f"--output_dir={tmp_path}")
  assert run(f"--url={fake_server.url}", *flags) == 2
  assert "400: refused with 400" in capsys.readouterr().err
  assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.png", "000001.png"]
