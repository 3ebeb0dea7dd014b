"""`trainers.serve`: what it refuses before it serves."""

import socket

import pytest

from trainers import serve


def run(*flags):
  return serve.COMMAND.run(["serve", *map(str, flags)])


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--models_dir=none",), "--models_dir: expected an existing folder, received 'none'"),
    (("--poll_seconds=0",), "--poll_seconds: expected a positive number"),
    (("--poll_seconds=nan",), "--poll_seconds"),
    (("--poll_seconds=1e300",), "--poll_seconds: expected at most 86400"),
    (("--poll_seconds=inf",), "--poll_seconds"),
    (("--max_batch=0",), "--max_batch"),
    (("--max_megabytes=2048",), "--max_megabytes: expected at most 2047"),
    (("--port=65536",), "--port: expected a number from 0 to 65535"),
    (("--base_channels=3",), "--base_channels: there is no such flag"),
    (("--host=256.1.1.1",), "--host: expected an address"),
    (("--allowed_hosts=http://a",), "--allowed_hosts: expected names of hosts without a scheme"),
  ],
)
def test_wrong_flags_are_refused_in_one_line(flags, message, tmp_path, capfd):
  assert run(f"--models_dir={tmp_path}", "--port=0", "--rest_port=0", *flags) == 2
  (line,) = capfd.readouterr().err.splitlines()
  assert message in line


@pytest.mark.parametrize("flag", ["port", "rest_port"])
def test_a_port_that_is_taken_is_refused_in_one_line(flag, tmp_path, capfd):
  with socket.create_server(("127.0.0.1", 0)) as other:
    port = other.getsockname()[1]
    assert run(f"--models_dir={tmp_path}", "--port=0", "--rest_port=0", f"--{flag}={port}") == 2
  (line,) = capfd.readouterr().err.splitlines()
  assert line.startswith(f"serve: --{flag}: expected a free port of 127.0.0.1, received {port}")
