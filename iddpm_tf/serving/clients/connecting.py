"""The choice between the protocols."""

from iddpm_tf.serving.clients import addresses
from iddpm_tf.serving.clients import base


def connect(
  *,
  model: str,
  address: str | None = None,
  url: str | None = None,
  version: int | None = None,
  retry: base.RetryPolicy = base.DEFAULT_RETRY,
) -> base.Client:
  """Returns a client of a model. Nothing is sent before its first request.

  Args:
    model: the name of the model.
    address: `HOST:PORT` of a server's gRPC interface.
    url: `http://HOST:PORT` of a server's REST interface. Either `address` or `url` is required.
    version: the version of the model, or None for the newest version.
    retry: the time limit and the number of attempts.

  Raises:
    InputError: the address or the URL is not valid, or both or neither are given.
  """
  addresses.require_server(address, url)
  if url:
    from iddpm_tf.serving.clients import rest_client

    return rest_client.RestClient(url, model, version=version, retry=retry)
  # This import takes seconds, because the messages of gRPC need TensorFlow.
  from iddpm_tf.serving.clients import grpc_client

  assert address
  return grpc_client.GrpcClient(address, model, version=version, retry=retry)
