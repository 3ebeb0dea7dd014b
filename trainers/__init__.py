"""What a person runs: `python -m trainers.NAME`. Only this package knows flags, folders and terminals."""

import os

# TensorFlow's start-up lines, and gRPC's, would bury the one line that says what is wrong.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# On by default on some processors only; a third faster in training where it is not.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
