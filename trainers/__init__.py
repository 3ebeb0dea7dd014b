"""The commands: `python -m trainers.NAME`. `python -m trainers` lists them."""

import os
import signal
import sys

# The start-up lines of TensorFlow and gRPC would bury the one line that says what is wrong.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def _leave(number, _):
  """Ends a command that is still being imported, without a traceback."""
  os.write(2, f"stopped by {signal.Signals(number).name}\n".encode())
  os._exit(128 + number)


# While Python finds the module of `python -m trainers.NAME`, this is the name of the program. Once
# the command runs, it answers signals itself.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
  signal.signal(signal.SIGINT, _leave)
