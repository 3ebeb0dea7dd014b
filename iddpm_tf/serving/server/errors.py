"""What a request is refused with: one name, as gRPC has it, and its HTTP status."""

import re

_LONGEST = 500  # gRPC carries no message of more than some kilobytes.
HTTP = {
  "INVALID_ARGUMENT": 400,
  "NOT_FOUND": 404,
  "RESOURCE_EXHAUSTED": 429,
  "TOO_LARGE": 413,
  "TOO_SLOW": 408,
  "INTERNAL": 500,
  "UNAVAILABLE": 503,
}


class Refused(Exception):
  """A request that is not answered."""

  def __init__(self, code, message):
    self.code, self.message = (
      code,
      message if len(message) <= _LONGEST else f"{message[:_LONGEST]}...",
    )
    super().__init__(self.message)

  @property
  def http_status(self):
    return HTTP[self.code]


def invalid(name, expected, received):
  """The `Refused` of an argument."""
  return Refused("INVALID_ARGUMENT", f"{name}: expected {expected}, received {received}")


def given_up():
  """The `Refused` of a request that nobody waits for."""
  return Refused("UNAVAILABLE", "the request was given up")


def of_graph(error):
  """The `Refused` of an `InvalidArgumentError` of a graph: the words of its assertion."""
  found = re.search(r"assertion failed: ((\[[^\]]*\] ?)+)", str(error))
  words = (
    " ".join(re.findall(r"\[([^\]]*)\]", found.group(1))) if found else str(error).splitlines()[0]
  )
  return Refused("INVALID_ARGUMENT", words)
