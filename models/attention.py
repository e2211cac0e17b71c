"""Self-attention among the places of a photo, as in a transformer (Vaswani et al. 2017)."""

import keras
import tensorflow as tf

# Blocks at a scale, and heads of each.
BLOCKS, HEADS = 2, 8


class ShapedLike(keras.layers.Layer):
    """Reshapes tokens, [batch, height * width, channels], to features, [batch, height, width, channels]."""

    def call(self, tokens, features):
        return tf.reshape(tokens, tf.shape(features))


def attend(features, name):
    """Blocks of self-attention, each followed by two dense layers at each place.

    Both parts of a block get normalised features, and what they return is added to the features.
    Training starts from blocks that add 0: with random outputs it was slower than without blocks.

    Args:
        features: [batch, height, width, channels]; the channels are a multiple of HEADS. Each place is compared with
            all others, so time and memory grow with the square of their number.
        name: What the names of the layers begin with.

    Returns:
        Features of the same shape.
    """
    channels = features.shape[-1]
    tokens = keras.layers.Reshape((-1, channels), name=f"{name}_tokens")(features)
    for number in range(1, BLOCKS + 1):
        block = f"{name}_{number}"
        normal = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{block}_norm")(tokens)
        attention = keras.layers.MultiHeadAttention(HEADS, channels // HEADS, name=block)
        tokens = keras.layers.Add(name=f"{block}_sum")([tokens, attention(normal, normal)])
        attention.output_dense.kernel.assign(tf.zeros_like(attention.output_dense.kernel))
        normal = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{block}_wide_norm")(tokens)
        wide = keras.layers.Dense(3 * channels, activation=gelu, name=f"{block}_wide")(normal)
        narrow = keras.layers.Dense(channels, kernel_initializer="zeros", name=f"{block}_narrow")(wide)
        tokens = keras.layers.Add(name=f"{block}_narrow_sum")([tokens, narrow])
    return ShapedLike(name=f"{name}_places")(tokens, features)


def gelu(features):
    """The Gaussian error linear unit (Hendrycks and Gimpel 2016).

    Keras's rests on erfc, which tf2onnx does not know. LiteRT knows erf in products of this order only.
    """
    return 0.5 * features * (1 + tf.math.erf(features / 2**0.5))
