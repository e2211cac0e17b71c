"""Keeps what native libraries print off the terminal of the scripts.

TensorFlow reports on the machine while it loads, and libjpeg and libpng on every damaged file; the scripts say what
matters of it themselves, in one line each.
"""

import os
import sys


def silence_native_libraries():
    """Sends what C and C++ code writes to stderr nowhere, while Python's own stderr stays what it was.

    Has to come before TensorFlow is imported. Does nothing where the environment variable TF_CPP_MIN_LOG_LEVEL is set,
    so TF_CPP_MIN_LOG_LEVEL=0 shows all of it, for example why a GPU is not used.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
