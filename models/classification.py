"""The classification network (CN) of the paper: what kind of scene the whole photo shows."""

import keras

from models.layers import convs

# (filters, strides) of each 3x3 convolution. The first six are those of the LFN, with weights of their own.
LAYERS = ((64, 2), (128, 1), (128, 2), (256, 2), (512, 1), (256, 1), (128, 1), (32, 1), (8, 1), (1, 1))
# Widths of the dense layers. As published, neither has an activation.
DENSE = (1500, 1000)


def classification_network(lightness, initializer):
    """The CN: scaled lightness of one fixed size, [batch, size, size, 1], to a global vector [batch, 1000].

    The first dense layer sees (size / 8)^2 values, so the size is part of the network: 256 in the paper.
    """
    features = keras.layers.Flatten(name="cn_flatten")(convs(lightness, LAYERS, initializer, "cn_conv"))
    for number, units in enumerate(DENSE, start=1):
        features = keras.layers.Dense(units, kernel_initializer=initializer, name=f"cn_dense_{number}")(features)
    return features
