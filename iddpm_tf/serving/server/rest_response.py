"""Answers in JSON."""

import json
from typing import Any

from starlette import responses

from iddpm_tf.serving.server import errors


class Json(responses.JSONResponse):
  """JSON in ASCII. A name from a request may contain surrogates, which UTF-8 cannot encode."""

  def render(self, content: Any) -> bytes:
    """Returns the content as JSON."""
    return json.dumps(content, separators=(",", ":")).encode("ascii")


def of_error(error: errors.RequestError) -> Json:
  """Returns the answer to a request that is refused."""
  return Json({"error": error.message}, status_code=error.http_status)
