"""The settings of the development server."""

import pytest

from iddpm_tf import settings
from iddpm_tf.serving.server import config as config_lib


@pytest.mark.parametrize(
  "values, message",
  [
    ({"max_batch": 0}, "max_batch: expected a positive number"),
    ({"max_queue": -1}, "max_queue: expected a positive number"),
    ({"poll_seconds": float("nan")}, "poll_seconds: expected a positive number"),
    ({"poll_seconds": 1e6}, "poll_seconds: expected at most 86400"),
    ({"max_megabytes": 2048}, "max_megabytes: expected at most 2047"),
    ({"port": -1}, "port: expected a number from 0 to 65535"),
    ({"rest_port": 65536}, "rest_port: expected a number from 0 to 65535"),
    ({"allowed_hosts": ("http://a",)}, "allowed_hosts: expected names of hosts without a scheme"),
    ({"allowed_hosts": ("a", "a:80")}, "allowed_hosts: expected names of hosts"),
    ({"allowed_hosts": ("*.a",)}, "allowed_hosts: expected names of hosts"),
    ({"allowed_hosts": ("",)}, "allowed_hosts: expected names of hosts"),
    ({"allowed_hosts": "a"}, "allowed_hosts: expected a list of values that are each text"),
  ],
)
def test_wrong_values_are_refused(values, message):
  with pytest.raises(settings.InputError, match=f"^{message}"):
    config_lib.ServerConfig(**values)


@pytest.mark.parametrize("hosts", [(), ["models"], ("a.example", "10.0.0.1"), ("*",)])
def test_hosts_are_names_or_a_star(hosts):
  assert config_lib.ServerConfig(allowed_hosts=hosts).allowed_hosts == tuple(hosts)


def test_the_folder_of_the_models_must_exist(tmp_path):
  config_lib.ServerConfig(models_dir=str(tmp_path)).require_models_dir()
  config = config_lib.ServerConfig(models_dir=str(tmp_path / "none"))
  with pytest.raises(settings.InputError, match=r"^models_dir: expected an existing folder"):
    config.require_models_dir()
