"""The limit on requests in progress."""

import asyncio
import json

import httpx

from iddpm_tf.serving.server import request_limit


def client_of(app):
  return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def make_app(may_end):
  """Returns an application that reads a request and answers once `may_end` is set."""

  async def app(scope, receive, send):
    while (await receive()).get("more_body"):
      pass
    if scope["path"] == "/":
      await may_end.wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

  return app


def test_requests_beyond_the_limit_are_refused_until_others_end():
  async def send_requests():
    may_end = asyncio.Event()
    limited = request_limit.RequestLimit(make_app(may_end), 2, unlimited=("/healthz",))
    async with client_of(limited) as client:
      first = [asyncio.create_task(client.get("/")) for _ in range(2)]
      await asyncio.sleep(0.05)
      refused = [await client.get("/"), await client.post("/a")]
      health = await client.get("/healthz")
      may_end.set()
      return [await task for task in first], refused, health, await client.get("/")

  first, refused, health, after = asyncio.run(send_requests())
  for response in refused:
    assert response.status_code == 503
    assert json.loads(response.text) == {
      "error": "2 requests are in progress: send the request again later"
    }
  assert [response.text for response in (*first, health, after)] == ["ok"] * 4


def test_requests_that_wait_for_their_client_are_not_in_progress():
  async def send_requests():
    may_arrive, may_end = asyncio.Event(), asyncio.Event()
    limited = request_limit.RequestLimit(make_app(may_end), 2)

    async def content():
      yield b"a"
      await may_arrive.wait()
      yield b"b"

    async with client_of(limited) as client:
      slow = [asyncio.create_task(client.post("/", content=content())) for _ in range(9)]
      await asyncio.sleep(0.05)
      meanwhile = await client.get("/a")
      may_arrive.set()
      await asyncio.sleep(0.05)
      refused = await client.get("/a")
      may_end.set()
      return [await task for task in slow], meanwhile, refused, await client.get("/a")

  slow, meanwhile, refused, after = asyncio.run(send_requests())
  assert [response.text for response in (*slow, meanwhile, after)] == ["ok"] * 11
  assert refused.status_code == 503


def test_an_answer_that_is_not_taken_is_not_in_progress():
  async def send_requests():
    limited = request_limit.RequestLimit(make_app(asyncio.Event()), 1)
    taken = asyncio.Event()

    async def receive():
      return {"type": "http.request"}

    async def send(message):
      del message
      await taken.wait()

    task = asyncio.create_task(limited({"type": "http", "path": "/a"}, receive, send))
    await asyncio.sleep(0.05)
    async with client_of(limited) as client:
      meanwhile = await client.get("/a")
    taken.set()
    await task
    return meanwhile

  assert asyncio.run(send_requests()).text == "ok"
