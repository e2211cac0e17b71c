"""ColorNet: a U-Net that colorizes, in its gray and its L flow, and with its author's list of defects mended.

As published it halves with max pooling, doubles with transposed convolutions and learns (ab + 128) / 255 without an
activation. Each of these is an argument of `ColorNet`, so that each mend can be switched alone.
"""

import keras
import tensorflow as tf

from models.colorizer import Colorizer
from models.layers import BatchNorm, CropLike, PadToMultiple
from utils import neutral_from_lightness

FILTERS = (64, 128, 256, 512, 1024)
# PyTorch's defaults.
BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


@keras.saving.register_keras_serializable("colorization")
class GrayFromLightness(keras.layers.Layer):
    """The gray value in 0..1 of the neutral of each L in 0..100: the input of the gray flow. Always float32."""

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, lightness):
        return neutral_from_lightness(lightness)


@keras.saving.register_keras_serializable("colorization")
class Enlarge(keras.layers.Layer):
    """Twice the height and width, bilinear: UpSampling2D, which cannot interpolate where the size is not known yet."""

    def call(self, features):
        enlarged = tf.image.resize(features, 2 * tf.shape(features)[1:3])
        return tf.cast(enlarged, features.dtype)


def double_conv(features, filters, name):
    """Twice a 3x3 convolution without bias, batch normalisation, ReLU."""
    for number in (1, 2):
        features = conv_norm_relu(features, filters, f"{name}_{number}")
    return features


def conv_norm_relu(features, filters, name, strides=1):
    features = keras.layers.Conv2D(filters, 3, strides, "same", use_bias=False, name=f"{name}_conv")(features)
    features = BatchNorm(**BATCH_NORM, name=f"{name}_norm")(features)
    return keras.layers.ReLU(name=f"{name}_relu")(features)


def halve(features, downsampling, name):
    """Half the height and width: by 2x2 max pooling, or by a strided convolution, which can choose what it keeps."""
    if downsampling == "pool":
        return keras.layers.MaxPooling2D(name=name)(features)
    return conv_norm_relu(features, features.shape[-1], name, strides=2)


def double(features, filters, upsampling, name):
    """Twice the height and width, to `filters` channels.

    A 2x2 transposed convolution gives each pixel of a 2x2 block weights of its own, which shows as a checkerboard;
    resizing and then convolving treats all of them alike.
    """
    if upsampling == "transposed":
        return keras.layers.Conv2DTranspose(filters, 2, 2, name=name)(features)
    features = Enlarge(name=f"{name}_resize")(features)
    return keras.layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(features)


@keras.saving.register_keras_serializable("colorization")
class ColorNet(Colorizer):
    """ColorNet, at any height and width. 31,036,546 trainable parameters as published.

    Args:
        flow: What the network sees: "gray", values in 0..1 of the neutral of equal L, or "lightness", L / 255.
        downsampling: "pool", 2x2 max pooling as published, or "stride", strided convolutions.
        upsampling: "transposed", 2x2 transposed convolutions as published, or "resize", resizing then convolving.
        encoding: What it learns: "shifted", (ab + 128) / 255 without activation as published, or "centred", ab / 128
            bounded by tanh.
        chroma_weight: Weight of a pixel's loss is 1 + chroma_weight * chroma / 128, scaled to a mean of 1. 0 as
            published. Grays far outnumber strong reds and blues, so without it dull colours have the lowest loss.
        native_size: Side in pixels of the photos it is trained on.
    """

    def __init__(
        self,
        flow="lightness",
        downsampling="pool",
        upsampling="transposed",
        encoding="shifted",
        chroma_weight=0.0,
        native_size=128,
        **kwargs,
    ):
        # === Graph ===
        lightness = keras.Input((None, None, 1), name="lightness")
        features = PadToMultiple(2 ** (len(FILTERS) - 1), name="pad")(lightness)
        if flow == "gray":
            features = GrayFromLightness(name="gray")(features)
        else:
            features = keras.layers.Rescaling(1 / 255, dtype="float32", name="scale")(features)

        skips = []
        for number, filters in enumerate(FILTERS[:-1], start=1):
            skips.append(double_conv(features, filters, f"down_{number}"))
            features = halve(skips[-1], downsampling, f"halve_{number}")
        features = double_conv(features, FILTERS[-1], "bottom")
        for number, (filters, skip) in enumerate(zip(FILTERS[-2::-1], reversed(skips), strict=True), start=1):
            features = double(features, filters, upsampling, f"double_{number}")
            features = double_conv(
                keras.layers.Concatenate(name=f"join_{number}")([features, skip]), filters, f"up_{number}"
            )
        activation = "tanh" if encoding == "centred" else None
        output = keras.layers.Conv2D(2, 1, activation=activation, dtype="float32", name="output")(features)
        super().__init__(inputs=lightness, outputs=CropLike(name="crop")(output, lightness), **kwargs)

        # === Configuration ===
        self.flow = flow
        self.downsampling = downsampling
        self.upsampling = upsampling
        self.encoding = encoding
        self.chroma_weight = chroma_weight
        self.native_size = native_size

    def encode(self, ab):
        return super().encode(ab) if self.encoding == "centred" else (ab + 128) / 255

    def decode(self, output):
        return super().decode(output) if self.encoding == "centred" else output * 255 - 128

    def color_loss(self, ab, output):
        if not self.chroma_weight:
            return super().color_loss(ab, output)
        weight = 1 + self.chroma_weight * tf.norm(ab, axis=-1, keepdims=True) / 128
        squares = tf.math.squared_difference(output, self.encode(ab))
        return tf.reduce_mean(squares * weight / tf.reduce_mean(weight))

    def get_config(self):
        return {
            "name": self.name,
            "flow": self.flow,
            "downsampling": self.downsampling,
            "upsampling": self.upsampling,
            "encoding": self.encoding,
            "chroma_weight": self.chroma_weight,
            "native_size": self.native_size,
        }
