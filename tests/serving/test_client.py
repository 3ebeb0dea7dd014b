"""`trainers.client`, and how the clients wait and ask again."""

from concurrent import futures
import http.server
import importlib.util
import json
import threading

import grpc
import numpy as np
from PIL import Image
import pytest

from iddpm_tf.serving import client as client_lib
from tests.serving.conftest import require_same
from trainers import client as client_command
from trainers.cli import command


def run(*flags):
  return command.run(
    client_command.main,
    client_command.Options,
    client_command.__doc__,
    ["client", *map(str, flags)],
  )


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_it_saves_the_images_of_sample(server, drawn, tmp_path, protocol, capsys):
  where = f"--address={server.address}" if protocol == "grpc" else f"--url={server.url}"
  assert (
    run(
      where,
      "--model=small",
      "--signature=ancestral_5",
      "--num_samples=12",
      "--batch_size=12",
      f"--labels={','.join(map(str, range(10)))}",
      f"--output_dir={tmp_path}",
    )
    == 0
  )
  images = [np.asarray(Image.open(tmp_path / f"{seed:06d}.png")) for seed in range(12)]
  np.testing.assert_array_equal(images, drawn["ancestral_5"][..., 0])
  assert (
    Image.open(tmp_path / "grid.png").size[0] > 64 and "wrote 12 images" in capsys.readouterr().out
  )


def test_large_orders_are_split(server, drawn):
  order = ("ddim_5", np.arange(12), np.arange(12) % 10)
  with client_lib.GrpcClient(server.address, "small") as client:
    parts = [
      (part, len(images)) for part, images in client_lib.batches(client, *order, batch_size=5)
    ]
    images = client_lib.draw(client, *order, batch_size=7)
  assert parts == [(slice(0, 5), 5), (slice(5, 10), 5), (slice(10, 12), 2)]
  require_same(images, drawn["ddim_5"])


@pytest.mark.parametrize(
  "flags, message",
  [
    ((), "--address: expected a server"),
    (("--address=a:1", "--url=http://a"), "--address: expected a server"),
    (("--address=a:1",), "--model: expected one"),
    (("--address=a:1", "--model=m"), "--output_dir: expected one"),
    (("--address=", "--model=m"), "--address: expected a server"),
    *(
      (("--model=m", "--output_dir=o", f"--address={address}"), "expected HOST:PORT, received")
      for address in (
        "127.0.0.1",
        "127.0.0.1:99999",
        "http://127.0.0.1:8500",
        "a:b:3",
        "a:0",
        "u@a:3",
      )
    ),
    (("--timeout=inf",), "--timeout"),
    (("--num_samples=1000000000000000",), "--num_samples"),
    (("--num_samples=0",), "--num_samples"),
    (("--seed=-1",), "--seed"),
    (("--seed=9223372036854775807",), "--seed"),
    (("--labels=-1",), "--labels"),
    (("--labels=4294967296",), "--labels"),
    (("--model_version=-1",), "--model_version"),
    (("--base_channels=3",), "--base_channels: expected no setting"),
  ],
)
def test_bad_flags_are_one_line(flags, message, capsys):
  assert run(*flags) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert message in line


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--signature=ddim_6",), "--signature: expected one of"),
    (("--signature=png_ddim_5",), "--signature: expected a sampler's"),
    (("--labels=10",), "label: expected 0 to 9, received 10"),
    (("--model_version=3",), "version: expected 1"),
  ],
)
def test_what_the_server_refuses_is_one_line(server, tmp_path, flags, message, capsys):
  assert (
    run(f"--address={server.address}", "--model=small", f"--output_dir={tmp_path / 'o'}", *flags)
    == 2
  )
  line = capsys.readouterr().err.splitlines()[-1]
  assert message in line and not list(tmp_path.rglob("*.png"))


def test_a_server_that_is_not_there(tmp_path, capsys):
  assert (
    run("--address=127.0.0.1:1", "--model=small", "--attempts=1", f"--output_dir={tmp_path}") == 2
  )
  assert "127.0.0.1:1: UNAVAILABLE" in capsys.readouterr().err
  assert (
    run("--url=http://127.0.0.1:1", "--model=small", "--attempts=1", f"--output_dir={tmp_path}")
    == 2
  )
  assert "http://127.0.0.1:1" in capsys.readouterr().err


class Answers(http.server.BaseHTTPRequestHandler):
  """Busy twice, then images; what came is kept."""

  statuses, asked, answer = [], [], {"outputs": [[[[7]]]]}

  def do_POST(self):
    self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
    status = self.statuses.pop(0)
    self._send(status, self.answer if status == 200 else {"error": f"no, {status}"})

  def do_GET(self):
    self._send(
      200,
      {
        "metadata": {
          "signature_def": {"signature_def": {"serving_default": {"inputs": {"seed": {}}}}}
        }
      },
    )

  def _send(self, status, answer):
    content = json.dumps(answer).encode()
    self.send_response(status)
    self.send_header("Content-Length", str(len(content)))
    self.end_headers()
    self.wfile.write(content)

  def log_message(self, *_):
    pass


@pytest.fixture(name="url")
def fixture_url():
  Answers.asked.clear()
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
  threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
  yield f"http://127.0.0.1:{server.server_port}"
  server.shutdown()
  server.server_close()


@pytest.mark.parametrize(
  "statuses, attempts, error",
  [
    ([503, 429, 200], 3, None),
    ([503, 429, 200], 2, "429: no, 429"),
    ([400, 200], 3, "400: no, 400"),
  ],
)
def test_a_busy_server_is_asked_again_and_one_that_refuses_is_not(
  url, statuses, attempts, error, monkeypatch
):
  monkeypatch.setattr(Answers, "statuses", list(statuses))
  client = client_lib.RestClient(url, "m", patience=client_lib.Patience(10, attempts))
  if error is None:
    assert client.predict("s", {"seed": np.arange(1)})[""].tolist() == [[[[7]]]]
  else:
    with pytest.raises(client_lib.ServingError, match=error):
      client.predict("s", {"seed": np.arange(1)})
  client.close()
  assert len(Answers.asked) == (1 if statuses[0] == 400 else attempts)
  assert all(body == {"signature_name": "s", "inputs": {"seed": [0]}} for body in Answers.asked)


@pytest.mark.parametrize(
  "answer",
  [
    [],
    5,
    {"output": 1},
    {"outputs": {"image": {"b64": "!"}}},
    {"outputs": [[7]]},
    {"outputs": {"image": [[[[7]]]], "more": [1]}},
    {"outputs": [[[[0.5]]]]},
    {"outputs": [[[[300]]]]},
  ],
)
def test_an_answer_of_another_kind_is_one_line(url, answer, monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(Answers, "statuses", [200])
  monkeypatch.setattr(Answers, "answer", answer)
  assert run(f"--url={url}", "--model=m", "--num_samples=1", f"--output_dir={tmp_path}") == 2
  assert "expected" in capsys.readouterr().err.splitlines()[-1] and not list(tmp_path.iterdir())


def test_what_came_before_a_failure_is_kept(url, monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(Answers, "statuses", [200, 200, 400])
  assert (
    run(
      f"--url={url}", "--model=m", "--num_samples=3", "--batch_size=1", f"--output_dir={tmp_path}"
    )
    == 2
  )
  assert "400: no, 400" in capsys.readouterr().err
  assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.png", "000001.png"]


@pytest.mark.parametrize(
  "where", ["http://[", "ftp://127.0.0.1", "127.0.0.1:8501", "http://", "http://a:b"]
)
def test_what_is_no_url_is_one_line(where, tmp_path, capsys):
  assert run(f"--url={where}", "--model=m", f"--output_dir={tmp_path}") == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert "expected http://HOST:PORT" in line


def test_names_are_quoted(url):
  with client_lib.RestClient(url, "a/b?c") as client:
    assert client._url.endswith("/v1/models/a%2Fb%3Fc")


def test_a_message_that_is_too_large_is_not_sent_again(server):
  patience = client_lib.Patience(60, attempts=1000)
  with client_lib.GrpcClient(server.address, "small", patience=patience) as client:
    with pytest.raises(client_lib.ServingError, match="larger than max"):
      client.predict("ddim_5", {"seed": np.zeros(2**22, np.int64)})


def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  assert run("--url=http://a", "--model=m", f"--output_dir={tmp_path}") == 2
  assert "pip install 'iddpm_tf[serving]'" in capsys.readouterr().err


def test_a_slow_server_is_given_up():
  class Never(grpc.GenericRpcHandler):
    def service(self, details):
      del details
      return grpc.unary_unary_rpc_method_handler(
        lambda request, context: threading.Event().wait(3) or b""
      )

  server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(Never(),))
  port = server.add_insecure_port("127.0.0.1:0")
  server.start()
  client = client_lib.GrpcClient(f"127.0.0.1:{port}", "m", patience=client_lib.Patience(0.3, 1))
  with pytest.raises(client_lib.ServingError, match="DEADLINE_EXCEEDED"):
    client.predict("s", {"seed": np.arange(1)})
  client.close()
  server.stop(None)
