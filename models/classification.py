"""The classification network (CN) of the paper: what kind of scene the whole photo shows."""

import keras

from models.layers import conv

# (filters, strides) of each 3x3 convolution. The first six are those of the LFN, with weights of their own.
LAYERS = ((64, 2), (128, 1), (128, 2), (256, 2), (512, 1), (256, 1), (128, 1), (32, 1), (8, 1), (1, 1))
# Widths of the dense layers. As published, neither has an activation.
DENSE = (1500, 1000)


def classification_network(lightness, initializer):
    """The CN: scaled lightness of one fixed size, [batch, size, size, 1], to a global vector [batch, 1000].

    The first dense layer sees (size / 8)^2 values, so the size is part of the network: 256 in the paper.
    """
    features = lightness
    for number, (filters, strides) in enumerate(LAYERS, start=1):
        features = conv(features, filters, strides=strides, initializer=initializer, name=f"cn_conv_{number}")
    features = keras.layers.Flatten(name="cn_flatten")(features)
    for number, units in enumerate(DENSE, start=1):
        features = keras.layers.Dense(units, kernel_initializer=initializer, name=f"cn_dense_{number}")(features)
    return features
