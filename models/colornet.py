"""ColorNet: a U-Net that colorizes, as published in its gray and L flows, or with its author's list of defects fixed.

As published it down-samples by max pooling, up-samples by transposed convolutions, and predicts (ab + 128) / 255
without an activation. Each of these is an argument of `ColorNet`.
"""

import keras
import tensorflow as tf

from models.colorizer import Colorizer
from models.layers import TORCH_BATCH_NORM, BatchNorm, CropLike, Float32Layer, PadToMultiple
from utils import neutral_from_lightness

FILTERS = (64, 128, 256, 512, 1024)


class GrayFromLightness(Float32Layer):
    """The gray value in 0..1 of the neutral of each L in 0..100: the input of the gray flow."""

    def call(self, lightness):
        return neutral_from_lightness(lightness)


class BilinearUpSampling2D(keras.layers.Layer):
    """Bilinear up-sampling of [batch, height, width, channels] by two, in any type.

    Keras's UpSampling2D fails in graphs whose height and width are not known.
    """

    def call(self, features):
        enlarged = tf.image.resize(features, 2 * tf.shape(features)[1:3])
        return tf.cast(enlarged, features.dtype)


def kernels(initializer, transposed=False):
    """A new initializer of kernels: a Keras name, or "he_fan_out", that of the published code.

    "he_fan_out" is normal with variance 2 / fan-out; for the output layer, with two channels, that is 1. Transposed
    convolutions have PyTorch's default: uniform, bounded by 1 / sqrt(4 * output channels).
    """
    if initializer != "he_fan_out":
        return keras.initializers.get(initializer)
    if transposed:
        return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return keras.initializers.VarianceScaling(2, "fan_out", "untruncated_normal")


def double_conv(features, filters, initializer, name):
    """Two of `conv_norm_relu`, as in each scale of a U-Net: [batch, height, width, filters]."""
    for number in (1, 2):
        features = conv_norm_relu(features, filters, initializer, f"{name}_{number}")
    return features


def conv_norm_relu(features, filters, initializer, name, strides=1):
    """A 3x3 convolution without bias, batch normalisation, ReLU: `filters` channels, sides divided by `strides`."""
    options = {"use_bias": False, "kernel_initializer": kernels(initializer)}
    features = keras.layers.Conv2D(filters, 3, strides, "same", name=f"{name}_conv", **options)(features)
    features = BatchNorm(**TORCH_BATCH_NORM, name=f"{name}_norm")(features)
    return keras.layers.ReLU(name=f"{name}_relu")(features)


def downsample(features, downsampling, initializer, name):
    """Halves height and width: by 2x2 max pooling, or by a strided convolution, which learns what to keep."""
    if downsampling == "pool":
        return keras.layers.MaxPooling2D(name=name)(features)
    return conv_norm_relu(features, features.shape[-1], initializer, name, strides=2)


def upsample(features, filters, upsampling, initializer, name):
    """Up-samples by two, to `filters` channels.

    A 2x2 transposed convolution has weights of its own for each pixel of a 2x2 block, which leaves a checkerboard; a
    convolution after resizing has the same weights for all pixels.
    """
    if upsampling == "transposed":
        kernel = kernels(initializer, transposed=True)
        return keras.layers.Conv2DTranspose(filters, 2, 2, kernel_initializer=kernel, name=name)(features)
    features = BilinearUpSampling2D(name=f"{name}_resize")(features)
    options = {"padding": "same", "kernel_initializer": kernels(initializer)}
    return keras.layers.Conv2D(filters, 3, name=f"{name}_conv", **options)(features)


@keras.saving.register_keras_serializable("colorization")
class ColorNet(Colorizer):
    """ColorNet, at any height and width. 31,036,546 trainable parameters as published.

    Args:
        flow: The network's input: "gray", the gray value in 0..1 of the neutral of equal L, or "lightness", L / 255.
        downsampling: "pool", 2x2 max pooling as published, or "stride", strided convolutions.
        upsampling: "transposed", 2x2 transposed convolutions as published, or "resize", resizing then convolving.
        encoding: The network's output: "shifted", (ab + 128) / 255 without activation as published, or "centred",
            ab / 128 bounded by tanh.
        chroma_weight: A pixel's loss has the weight 1 + chroma_weight * chroma / 128, scaled to a mean of 1. 0 as
            published: since gray pixels far outnumber strong reds and blues, dull colours then have the lowest loss.
        initializer: Keras name of the kernel initializer, or "he_fan_out" as published; see `kernels`.
        native_size: See `Colorizer`.
    """

    experiment_fields = tuple("flow downsampling upsampling encoding chroma_weight initializer native_size".split())

    def __init__(
        self,
        flow="lightness",
        downsampling="pool",
        upsampling="transposed",
        encoding="shifted",
        chroma_weight=0.0,
        initializer="glorot_uniform",
        native_size=128,
        **kwargs,
    ):
        # === Graph ===
        lightness = keras.Input((None, None, 1), name="lightness")
        grid = 2 ** (len(FILTERS) - 1)
        features = PadToMultiple(grid, name="pad")(lightness)
        if flow == "gray":
            features = GrayFromLightness(name="gray")(features)
        else:
            features = keras.layers.Rescaling(1 / 255, dtype="float32", name="scale")(features)

        skips = []
        for number, filters in enumerate(FILTERS[:-1], start=1):
            skips.append(double_conv(features, filters, initializer, f"down_{number}"))
            features = downsample(skips[-1], downsampling, initializer, f"halve_{number}")
        features = double_conv(features, FILTERS[-1], initializer, "bottom")
        for number, (filters, skip) in enumerate(zip(FILTERS[-2::-1], reversed(skips), strict=True), start=1):
            features = upsample(features, filters, upsampling, initializer, f"double_{number}")
            features = keras.layers.Concatenate(name=f"join_{number}")([features, skip])
            features = double_conv(features, filters, initializer, f"up_{number}")
        options = {"activation": "tanh" if encoding == "centred" else None, "kernel_initializer": kernels(initializer)}
        output = keras.layers.Conv2D(2, 1, dtype="float32", name="output", **options)(features)
        super().__init__(inputs=lightness, outputs=CropLike(name="crop")(output, lightness), **kwargs)

        # === Configuration ===
        self.flow = flow
        self.downsampling = downsampling
        self.upsampling = upsampling
        self.encoding = encoding
        self.chroma_weight = chroma_weight
        self.initializer = initializer
        self.native_size = native_size
        self.grid = grid

    def encode(self, ab):
        return super().encode(ab) if self.encoding == "centred" else (ab + 128) / 255

    def decode(self, output):
        return super().decode(output) if self.encoding == "centred" else output * 255 - 128

    def color_loss(self, ab, output):
        """Mean squared error, weighted by the target's chroma where `chroma_weight` is not 0; see `Colorizer`."""
        if not self.chroma_weight:
            return super().color_loss(ab, output)
        weight = 1 + self.chroma_weight * tf.norm(ab, axis=-1, keepdims=True) / 128
        squares = tf.math.squared_difference(output, self.encode(ab))
        return tf.reduce_mean(squares * weight / tf.reduce_mean(weight))
