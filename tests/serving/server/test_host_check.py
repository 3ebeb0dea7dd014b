"""Requests that a page of another site may have sent are refused; others are answered."""

import asyncio
import json
import socket

import httpx
import pytest

from iddpm_tf.serving.server import config as config_lib
from iddpm_tf.serving.server import host_check
from iddpm_tf.serving.server import server as server_lib

BODY = {"inputs": {"seed": [0], "label": [0]}, "signature_name": "ddim_5"}


async def answer(scope, receive, send):
  del scope, receive
  await send({"type": "http.response.start", "status": 200, "headers": []})
  await send({"type": "http.response.body", "body": b"{}"})


def send(app, *headers, scheme="http", method="GET"):
  """Sends a request with exactly these headers, and returns its status and content."""
  pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
  scope = {"type": "http", "path": "/", "scheme": scheme, "method": method, "headers": pairs}
  messages = []

  async def receive():
    return {"type": "http.request"}

  async def keep(message):
    messages.append(message)

  asyncio.run(app(scope, receive, keep))
  start, body = messages
  return start["status"], json.loads(body["body"])


@pytest.mark.parametrize(
  "host",
  [
    "localhost",
    "localhost:8501",
    "LocalHost.",
    "127.0.0.1:8501",
    "10.1.2.3",
    "[::1]:8501",
    "[2001:db8::1]",
    "models.example:80",
    "MODELS.example",
  ],
)
def test_known_hosts_are_answered(host):
  assert send(host_check.HostCheck(answer, ["models.example"]), ("host", host))[0] == 200


@pytest.mark.parametrize(
  "host",
  [
    "evil.example",
    "evil.example:8501",
    "localhost.evil.example",
    "evil-localhost",
    "evil.localhost",
    "127.0.0.1.evil.example",
    "evil-models.example",
    "a.models.example",
    "user@localhost",
    "localhost:80:80",
    "localhost/",
    "[::1",
    "[evil]",
    "1",
    "",
    "\xe9",
    "x" * 10_000,
  ],
)
def test_foreign_hosts_are_refused(host):
  status, content = send(host_check.HostCheck(answer, ["models.example"]), ("host", host))
  assert status == 403 and len(content["error"]) < 300
  assert content["error"].startswith("Host: expected localhost, an IP address")


def test_any_host_can_be_allowed():
  app = host_check.HostCheck(answer, ["*"])
  assert send(app, ("host", "evil.example"))[0] == 200
  assert send(app, ("host", "evil.example"), ("origin", "http://evil.example"))[0] == 200
  assert send(app, ("host", "evil.example"), ("origin", "http://other.example"))[0] == 403


def test_a_program_may_speak_http_1_0_without_a_host():
  app = host_check.HostCheck(answer, [])
  assert send(app)[0] == 200
  assert send(app, ("origin", "http://localhost"))[0] == 403


@pytest.mark.parametrize(
  "scheme, host, origin",
  [
    ("http", "localhost:8501", "http://localhost:8501"),
    ("http", "localhost", "http://localhost"),
    ("http", "localhost:80", "http://localhost"),
    ("http", "[::1]:8501", "http://[::1]:8501"),
    ("https", "models.example", "https://models.example:443"),
  ],
)
def test_the_own_origin_is_answered(scheme, host, origin):
  app = host_check.HostCheck(answer, ["models.example"])
  assert send(app, ("host", host), ("origin", origin), scheme=scheme)[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
  "origin",
  [
    "http://evil.example",
    "http://localhost",
    "http://localhost:8502",
    "https://localhost:8501",
    "http://127.0.0.1:8501",
    "http://localhost:8501.evil.example",
    "http://localhost:8501/",
    "file://",
    "null",
    "",
  ],
)
def test_other_origins_are_refused(method, origin):
  app = host_check.HostCheck(answer, [])
  status, content = send(app, ("host", "localhost:8501"), ("origin", origin), method=method)
  assert status == 403
  expected = "Origin: expected none, or that of this server, http://localhost:8501, received"
  assert content["error"] == f"{expected} {origin!r}"


def test_one_foreign_origin_among_several_is_refused():
  own, foreign = ("origin", "http://localhost"), ("origin", "http://evil.example")
  app = host_check.HostCheck(answer, [])
  assert send(app, ("host", "localhost"), own, own)[0] == 200
  assert send(app, ("host", "localhost"), own, foreign)[0] == 403


def test_the_server_knows_its_own_names_and_the_allowed_ones():
  config = config_lib.ServerConfig(host="gpu.example", allowed_hosts=("models", "models.example"))
  app = server_lib._guarded(answer, config)
  names = ("gpu.example", "models", "models.example", socket.gethostname(), socket.getfqdn())
  assert [send(app, ("host", name))[0] for name in names] == [200] * len(names)
  assert send(app, ("host", "evil.example"))[0] == 403


def own_origin(server):
  return {"Origin": server.url}


@pytest.mark.parametrize("path", ["/", "/models", "/healthz", "/v1/models/small/metadata"])
def test_the_server_refuses_foreign_requests(server, path):
  url = server.url + path
  assert httpx.get(url).status_code == 200
  assert httpx.get(url, headers=own_origin(server)).status_code == 200
  for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
    response = httpx.get(url, headers=headers)
    (name,) = headers
    assert response.status_code == 403 and response.json()["error"].startswith(f"{name}: expected")


def test_the_server_draws_for_its_own_page_and_programs_only(server):
  url = f"{server.url}/v1/models/small:predict"
  # A page may send text to any site without asking.
  text = {"Content-Type": "text/plain", "Origin": "http://evil.example"}
  assert httpx.post(url, content=json.dumps(BODY), headers=text).status_code == 403
  assert httpx.options(url, headers=text).status_code == 403
  assert httpx.post(url, json=BODY, headers=own_origin(server)).status_code == 200
  form = {"Content-Type": "application/x-www-form-urlencoded"}  # As curl --data sends it.
  assert httpx.post(url, content=json.dumps(BODY), headers=form).status_code == 200


def test_a_proxy_on_this_machine_may_add_encryption(server):
  headers = {"Origin": server.url.replace("http:", "https:")}
  assert httpx.get(server.url, headers=headers).status_code == 403
  headers["X-Forwarded-Proto"] = "https"
  assert httpx.get(server.url, headers=headers).status_code == 200
