"""Clients that keep a connection without sending a whole request or taking the answer."""

import asyncio
import contextlib
import socket
import threading
import time
import urllib.parse

import httpx
import pytest
import uvicorn

from iddpm_tf.serving.server import http_connection

HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: "
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIMIT = 0.3


@pytest.fixture(name="serve")
def fixture_serve():
  """Returns a function that serves an application in this process, and returns its address."""
  with contextlib.ExitStack() as stack:

    def serve(app):
      config = uvicorn.Config(
        app, http=http_connection.Connection, ws="none", lifespan="off", log_level="warning"
      )
      server = uvicorn.Server(config)
      listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
      # The system must not take an answer in place of a client.
      listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
      thread = threading.Thread(target=server.run, args=([listener],))
      thread.start()
      stack.callback(thread.join)
      stack.callback(setattr, server, "should_exit", True)
      return listener.getsockname()

    yield serve


@pytest.fixture(autouse=True)
def fixture_limit(monkeypatch):
  monkeypatch.setattr(http_connection, "_HEADER_SECONDS", LIMIT)


def answer(content=b"ok", seconds=0.0):
  """Returns an application that answers after a time, without reading the request."""

  async def app(scope, receive, send):
    del scope, receive
    await asyncio.sleep(seconds)
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})

  return app


def connect(address):
  return contextlib.closing(socket.create_connection(address, timeout=10))


def await_answer(connection):
  """Receives the answer `ok`, which may arrive in parts."""
  received = b""
  while not received.endswith(b"ok"):
    part = connection.recv(1000)
    assert part, received
    received += part


def seconds_until_closed(connection, drip=b""):
  """Returns how long the server keeps a connection, on which a byte is sent now and then."""
  start = time.monotonic()
  connection.settimeout(0.05)
  while time.monotonic() - start < 10:
    try:
      if drip:
        connection.sendall(drip)
      if not connection.recv(1000):
        break
    except TimeoutError:
      continue
    except ConnectionError:
      break
  return time.monotonic() - start


@pytest.mark.parametrize(
  "first, drip",
  [(b"", b""), (HALF, b""), (HALF, b"x"), (b"", b"G")],
  ids=["nothing", "half", "slow", "bytes"],
)
def test_a_connection_without_a_whole_header_is_closed(serve, first, drip):
  with connect(serve(answer())) as connection:
    connection.sendall(first)
    assert LIMIT / 2 < seconds_until_closed(connection, drip) < 5


def test_a_later_half_header_is_closed(serve):
  with connect(serve(answer())) as connection:
    for _ in range(3):
      connection.sendall(WHOLE)
      await_answer(connection)
      time.sleep(LIMIT / 2)
    connection.sendall(HALF)
    assert LIMIT / 2 < seconds_until_closed(connection, b"x") < 5


def test_the_rest_of_an_answered_request_is_not_awaited_for_ever(serve):
  with connect(serve(answer())) as connection:
    connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
    await_answer(connection)
    assert LIMIT / 2 < seconds_until_closed(connection, b"x") < 5


def test_an_answer_may_take_longer_than_a_header(serve):
  with connect(serve(answer(seconds=2 * LIMIT))) as connection:
    connection.sendall(HALF)
    time.sleep(LIMIT / 2)
    connection.sendall(b"x\r\n\r\n")
    await_answer(connection)


@pytest.mark.parametrize("takes", [True, False])
def test_a_client_must_take_some_of_its_answer(serve, takes, monkeypatch):
  monkeypatch.setattr(http_connection, "_STALLED_SECONDS", 2 * LIMIT)
  content, received = bytes(2**22), 0
  with connect(serve(answer(content))) as connection:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    connection.sendall(WHOLE)
    if not takes:
      time.sleep(4 * LIMIT)
    with contextlib.suppress(ConnectionError):
      while received < len(content) and (part := connection.recv(2**18)):
        received += len(part)
        time.sleep(0.03)  # Several times the limit in all.
  assert (received > len(content)) == takes


def test_many_half_open_connections_make_room(serve, monkeypatch):
  monkeypatch.setattr(http_connection, "_HEADER_SECONDS", 60)
  monkeypatch.setattr(http_connection, "_MAX_CONNECTIONS", 5)
  address = serve(answer())
  with contextlib.ExitStack() as stack:
    waiting = [stack.enter_context(connect(address)) for _ in range(8)]
    with connect(address) as connection:
      connection.sendall(WHOLE)
      await_answer(connection)
      for closed in waiting[:3]:
        assert closed.recv(1000) == b""
      # Those that came last are still open.
      waiting[-1].sendall(WHOLE)
      await_answer(waiting[-1])


@pytest.mark.parametrize(
  "start",
  [
    HALF,
    b"POST /v1/models/small:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{",
  ],
  ids=["header", "content"],
)
def test_two_hundred_half_requests_shut_nobody_out(server, start):
  parts = urllib.parse.urlsplit(server.url)
  with contextlib.ExitStack() as stack:
    for _ in range(200):
      stack.enter_context(connect((parts.hostname, parts.port))).sendall(start)
    time.sleep(0.5)
    body = {"inputs": {"seed": [1], "label": [1]}, "signature_name": "ddim_5"}
    response = httpx.post(f"{server.url}/v1/models/small:predict", json=body, timeout=5)
    assert response.status_code == 200 and response.json()["outputs"]
