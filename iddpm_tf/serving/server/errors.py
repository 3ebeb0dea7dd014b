"""The error of a request that the server refuses, for gRPC and for HTTP."""

import re

_MAX_LENGTH = 500  # gRPC carries no message of more than a few kilobytes.
_HTTP_STATUS = {
  "INVALID_ARGUMENT": 400,
  "PERMISSION_DENIED": 403,
  "NOT_FOUND": 404,
  "RESOURCE_EXHAUSTED": 429,
  "TOO_LARGE": 413,
  "TOO_SLOW": 408,
  "INTERNAL": 500,
  "UNAVAILABLE": 503,
}
_GRPC_CODE = {"TOO_LARGE": "RESOURCE_EXHAUSTED", "TOO_SLOW": "DEADLINE_EXCEEDED"}


class RequestError(Exception):
  """A request that the server refuses.

  Attributes:
    code: the name of a status code of gRPC, or TOO_LARGE or TOO_SLOW, which only REST uses.
    message: the reason, in one sentence.
  """

  def __init__(self, code: str, message: str):
    self.code = code
    self.message = message if len(message) <= _MAX_LENGTH else f"{message[:_MAX_LENGTH]}..."
    super().__init__(self.message)

  @property
  def http_status(self) -> int:
    """The status code of HTTP."""
    return _HTTP_STATUS[self.code]

  @property
  def grpc_code(self) -> str:
    """The name of the status code of gRPC, also for an error that only REST has."""
    return _GRPC_CODE.get(self.code, self.code)


def invalid_argument(name: str, expected: str, received: object) -> RequestError:
  """Returns the error of an argument with a wrong value."""
  return RequestError("INVALID_ARGUMENT", f"{name}: expected {expected}, received {received}")


def cancelled() -> RequestError:
  """Returns the error of a request whose client no longer waits, or whose server stops."""
  return RequestError("UNAVAILABLE", "the request was cancelled")


def from_graph(error: Exception) -> RequestError:
  """Returns the error for an `InvalidArgumentError` of a graph, with its assertion's text."""
  match = re.search(r"assertion failed: ((\[[^\]]*\] ?)+)", str(error))
  if match:
    message = " ".join(re.findall(r"\[([^\]]*)\]", match.group(1)))
  else:
    message = str(error).splitlines()[0]
  return RequestError("INVALID_ARGUMENT", message)
