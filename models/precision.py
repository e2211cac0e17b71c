"""Chooses the numeric policy from the hardware, and builds networks under another one."""

import contextlib
import os
from pathlib import Path

import keras
import tensorflow as tf

from common.command_line import counted

# Where Linux shows NVIDIA's driver.
NVIDIA = Path("/proc/driver/nvidia/version")


def describe_devices():
    """The devices that TensorFlow uses, in words: "2 GPUs (NVIDIA A100 80GB)" or "the CPU (2 cores)"."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        names = {tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus}
        return f"{counted(len(gpus), 'GPU')} ({', '.join(sorted(names))})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = f"the CPU ({counted(cores, 'core')})"
    if NVIDIA.exists() and "CUDA_VISIBLE_DEVICES" not in os.environ:
        words += ", not on the NVIDIA GPU: with TF_CPP_MIN_LOG_LEVEL=0 in the environment TensorFlow says why"
    return words


def ignore_keras_json():
    """Sets Keras's own defaults, which networks and weights are made for and ~/.keras/keras.json may change."""
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")


@contextlib.contextmanager
def numeric_policy(name):
    """A context in which Keras builds layers under a dtype policy, by its name."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def choose_policy():
    """The fastest Keras dtype policy that this machine runs natively.

    Returns:
        "mixed_bfloat16" on GPUs of compute capability 8 and up and on CPUs with bfloat16 units (AMX or AVX512),
        "mixed_float16" on GPUs of capability 7, whose tensor cores know only float16, else "float32": elsewhere
        bfloat16 is emulated and slower than float32.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in gpus]
        return policy_for_gpu(min(capability or (0, 0) for capability in capabilities))
    return policy_for_cpu(_cpu_flags())


def policy_for_gpu(compute_capability):
    """The policy for a GPU of a compute capability (major, minor)."""
    if compute_capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if compute_capability >= (7, 0) else "float32"


def policy_for_cpu(flags):
    """The policy for a CPU with a set of feature flags, as /proc/cpuinfo names them."""
    return "mixed_bfloat16" if flags & {"amx_bf16", "avx512_bf16"} else "float32"


def _cpu_flags():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
