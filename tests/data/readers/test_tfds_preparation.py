"""TFDS data sets that are downloaded: from a server in the test, and where there is none."""

import contextlib
import hashlib
import http.server
import io
import pathlib
import socket
import tarfile
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums

from iddpm_tf import settings
from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources
from iddpm_tf.data.readers import tfds as reader  # noqa: F401 (TensorFlow is imported here, untimed)
from iddpm_tf.data.readers import tfds_preparation

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
CIFAR_NAMES = (
  "airplane",
  "automobile",
  "bird",
  "cat",
  "deer",
  "dog",
  "frog",
  "horse",
  "ship",
  "truck",
)


class DownloadedPictures(tfds.core.GeneratorBasedBuilder):
  """Six pictures in two classes, in one file on a server."""

  VERSION = tfds.core.Version("1.0.0")
  url = ""
  error: BaseException | None = None  # Raised in the middle of the preparation.

  def _info(self):
    features = {
      "image": tfds.features.Image(shape=(4, 4, 3)),
      "label": tfds.features.ClassLabel(names=["ant", "bee"]),
    }
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features), disable_shuffling=True
    )

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples(dl_manager.download(self.url))}

  def _generate_examples(self, path):
    images = np.frombuffer(pathlib.Path(path).read_bytes(), np.uint8).reshape(-1, 4, 4, 3)
    for i, image in enumerate(images):
      if i == 3 and self.error:
        raise self.error
      yield i, {"image": image, "label": i % 2}


class Server:
  """A web server on this machine.

  Attributes:
    url: its address.
    content: what it sends.
    sent: how much of it is sent; None: all.
    status: its answer's status.
    requests: the number of requests.
  """

  def __init__(self, content):
    self.content, self.sent, self.status, self.requests = content, None, 200, 0
    server = self

    class Handler(http.server.BaseHTTPRequestHandler):
      def do_GET(self):
        server.requests += 1
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # The client only looks whether it is there.
          self.wfile.write(server.content[: server.sent])

      def log_message(self, format, *args):
        pass

    self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    self.url = f"http://127.0.0.1:{self._server.server_port}"
    threading.Thread(target=self._server.serve_forever, daemon=True).start()

  def close(self):
    self._server.shutdown()
    self._server.server_close()


@pytest.fixture(name="serve")
def fixture_serve(monkeypatch):
  """Returns a function that starts a server which sends the given bytes."""
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  with contextlib.ExitStack() as servers:

    def serve(content):
      server = Server(content)
      servers.callback(server.close)
      return server

    yield serve


def config(folder, dataset="downloaded_pictures", **values):
  return DataConfig(dataset=dataset, data_dir=str(folder), **values)


def use(monkeypatch, builder, url, content):
  """Makes a builder download a file from an address, and know its checksum."""
  digest = hashlib.sha256(content).hexdigest()
  url_info = checksums.UrlInfo(
    size=tfds.core.units.Size(len(content)), checksum=digest, filename=url.split("/")[-1]
  )
  monkeypatch.setattr(builder, "url_infos", {url: url_info})


@pytest.fixture(name="pictures")
def fixture_pictures(serve, monkeypatch):
  """Returns the server of `DownloadedPictures`."""
  server = serve(IMAGES.tobytes())
  url = f"{server.url}/pictures.bin"
  monkeypatch.setattr(DownloadedPictures, "url", url)
  use(monkeypatch, DownloadedPictures, url, server.content)
  return server


def error_of(config, split="train"):
  """Returns the message of the error that loading raises: one line that names no flag."""
  with pytest.raises(settings.InputError) as caught:
    sources.load(config, split)
  message = str(caught.value)
  assert message.startswith("dataset: ") and "\n" not in message and "--" not in message
  return message


def require_pictures(source):
  np.testing.assert_array_equal(source.images, IMAGES)
  assert source.labels.tolist() == [0, 1] * 3 and source.class_names == ("ant", "bee")


def test_a_data_set_is_downloaded_once_with_tfds_s_progress(pictures, tmp_path, capfd):
  require_pictures(sources.load(config(tmp_path), "train"))
  output = capfd.readouterr()
  assert "Downloading and preparing dataset" in output.out and "Dl Completed" in output.err
  requests = pictures.requests
  require_pictures(sources.load(config(tmp_path, download=False), "train"))
  assert pictures.requests == requests and not capfd.readouterr().out


def test_splits_of_a_data_set_that_is_not_prepared(pictures, tmp_path):
  assert sources.splits(config(tmp_path)) == ("train",)
  require_pictures(sources.load(config(tmp_path, download=False), "train"))


def test_without_download_nothing_is_requested(pictures, tmp_path):
  message = error_of(config(tmp_path, download=False))
  assert "download is off" in message and f"not prepared in {tmp_path}" in message
  assert f"TFDS_DATA_DIR={tmp_path} tfds build downloaded_pictures" in message
  assert not pictures.requests and not any(tmp_path.iterdir())


def test_a_server_that_does_not_answer_is_named(pictures, tmp_path):
  host = pictures.url.removeprefix("http://")
  pictures.close()
  start = time.monotonic()
  message = error_of(config(tmp_path))
  assert time.monotonic() - start < 15
  assert f"{host} cannot be reached (Connection refused)" in message
  assert "tfds build downloaded_pictures" in message and not any(tmp_path.iterdir())


def test_a_server_that_is_silent_is_not_waited_for(monkeypatch, tmp_path):
  monkeypatch.setattr(tfds_preparation, "_PROBE_SECONDS", 1.0)
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  with socket.create_server(("127.0.0.1", 0)) as silent:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/pictures.bin"
    monkeypatch.setattr(DownloadedPictures, "url", url)
    use(monkeypatch, DownloadedPictures, url, b"")
    start = time.monotonic()
    assert "cannot be reached" in error_of(config(tmp_path))
    assert time.monotonic() - start < 10


def test_a_server_that_is_out_of_order_is_named(pictures, tmp_path):
  pictures.status = 503
  assert "cannot be reached (HTTP status 503)" in error_of(config(tmp_path))


def test_cifar10_is_not_waited_for_where_there_is_no_network(tmp_path, monkeypatch):
  """With its own builder and address. Its server's name cannot be resolved."""

  def fail(host, *_, **__):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

  monkeypatch.setattr(socket, "getaddrinfo", fail)
  for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(name.lower(), raising=False)
  start = time.monotonic()
  message = error_of(config(tmp_path, "cifar10"))
  assert time.monotonic() - start < 15
  assert "www.cs.toronto.edu cannot be reached (Name or service not known)" in message
  assert f"not prepared in {tmp_path}" in message and "tfds build cifar10" in message
  assert not any(tmp_path.iterdir())


def cifar_archive(per_file):
  """Returns a .tar.gz like that of CIFAR-10, and the images and labels of its training files."""
  rng, images, labels = np.random.default_rng(0), [], []
  archive = io.BytesIO()
  names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
  with tarfile.open(fileobj=archive, mode="w:gz") as tar:

    def add(name, content):
      info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))

    add("batches.meta.txt", "\n".join(CIFAR_NAMES).encode())
    for name in names:
      image = rng.integers(0, 256, (per_file, 3, 32, 32), dtype=np.uint8)
      label = rng.integers(0, 10, (per_file, 1), dtype=np.uint8)
      add(name, np.concatenate([label, image.reshape(per_file, -1)], axis=1).tobytes())
      images.append(image.transpose(0, 2, 3, 1))
      labels.append(label[:, 0])
  return archive.getvalue(), np.concatenate(images[:5]), np.concatenate(labels[:5])


def test_cifar10_is_downloaded_by_its_own_builder(serve, monkeypatch, tmp_path):
  archive, images, labels = cifar_archive(per_file=2)
  server = serve(archive)
  url = f"{server.url}/cifar-10-binary.tar.gz"
  builder = tfds.builder_cls("cifar10")
  info = tfds.builder("cifar10", data_dir=str(tmp_path))._cifar_info
  monkeypatch.setattr(builder, "_cifar_info", info._replace(url=url))
  use(monkeypatch, builder, url, archive)
  source = sources.load(config(tmp_path, "cifar10"), "train")
  assert source.images.shape == (10, 32, 32, 3) and source.class_names == CIFAR_NAMES
  # TFDS shuffles the examples.
  expected = sorted((int(label), image.tobytes()) for label, image in zip(labels, images))
  examples = zip(source.labels, source.images)
  assert expected == sorted((int(label), image.tobytes()) for label, image in examples)
  assert len(sources.load(config(tmp_path, "cifar10"), "test").images) == 2


@pytest.mark.parametrize("failure", ["status", "truncated", "checksum", "disk", "interrupt"])
def test_a_failed_attempt_does_not_break_the_next_one(pictures, monkeypatch, tmp_path, failure):
  if failure == "status":
    pictures.status = 404
  elif failure == "truncated":
    pictures.sent = 100
  elif failure == "checksum":
    pictures.content = bytes(IMAGES.nbytes)
  elif failure == "disk":
    monkeypatch.setattr(DownloadedPictures, "error", OSError("No space left on device"))
  else:
    monkeypatch.setattr(DownloadedPictures, "error", KeyboardInterrupt())
  if failure == "interrupt":
    with pytest.raises(KeyboardInterrupt):
      sources.load(config(tmp_path), "train")
  else:
    reasons = {"status": "404", "checksum": "checksum", "disk": "No space left"}
    message = error_of(config(tmp_path))
    assert reasons.get(failure, "(") in message and "downloaded_pictures, which cannot" in message
  assert not (tmp_path / "downloaded_pictures/1.0.0").exists()
  assert not list((tmp_path / "downloads").rglob("*.tmp.*"))
  pictures.status, pictures.sent, pictures.content = 200, None, IMAGES.tobytes()
  monkeypatch.setattr(DownloadedPictures, "error", None)
  requests = pictures.requests
  require_pictures(sources.load(config(tmp_path), "train"))
  if failure in ("disk", "interrupt"):  # What was downloaded is used.
    assert pictures.requests == requests


def test_what_a_killed_process_leaves_does_not_break_the_next_attempt(pictures, tmp_path):
  for folder in (
    "downloaded_pictures/incomplete.ABC123_1.0.0",
    "downloads/downloaded_pictures/pictures.bin.tmp.123",
  ):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "part").write_bytes(b"half")
  require_pictures(sources.load(config(tmp_path), "train"))


def test_a_file_that_the_user_has_downloaded_needs_no_server(pictures, tmp_path):
  (tmp_path / "downloads/manual").mkdir(parents=True)
  (tmp_path / "downloads/manual/pictures.bin").write_bytes(pictures.content)
  pictures.close()
  require_pictures(sources.load(config(tmp_path), "train"))


def test_processes_that_prepare_at_once_wait_for_each_other(pictures, tmp_path):
  outcomes = []

  def load():
    outcomes.append(sources.load(config(tmp_path), "train"))

  threads = [threading.Thread(target=load) for _ in range(3)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(outcomes) == 3
  for source in outcomes:
    require_pictures(source)
