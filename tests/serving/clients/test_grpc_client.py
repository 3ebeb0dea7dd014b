"""The client by gRPC."""

from concurrent import futures
import threading

import grpc
import numpy as np
import pytest

from iddpm_tf.serving import clients
from iddpm_tf.serving.clients import grpc_client


def test_a_message_that_is_too_large_is_not_sent_again(server):
  retry = clients.RetryPolicy(timeout=60, attempts=1000)
  with (
    grpc_client.GrpcClient(server.address, "small", retry=retry) as client,
    pytest.raises(clients.ServingError, match="larger than max"),
  ):
    client.predict("ddim_5", {"seed": np.zeros(2**22, np.int64)})


def test_a_server_that_does_not_exist_is_busy():
  retry = clients.RetryPolicy(timeout=10, attempts=1)
  with (
    grpc_client.GrpcClient("127.0.0.1:1", "m", retry=retry) as client,
    pytest.raises(clients.BusyError, match=r"127.0.0.1:1: UNAVAILABLE"),
  ):
    client.signatures()


def test_a_slow_server_is_given_up():
  class SlowHandler(grpc.GenericRpcHandler):
    def service(self, details):
      del details
      return grpc.unary_unary_rpc_method_handler(
        lambda request, context: threading.Event().wait(3) or b""
      )

  server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(SlowHandler(),))
  port = server.add_insecure_port("127.0.0.1:0")
  server.start()
  retry = clients.RetryPolicy(timeout=0.3, attempts=1)
  with (
    grpc_client.GrpcClient(f"127.0.0.1:{port}", "m", retry=retry) as client,
    pytest.raises(clients.ServingError, match="DEADLINE_EXCEEDED"),
  ):
    client.predict("s", {"seed": np.arange(1)})
  server.stop(None)
