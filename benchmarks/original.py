"""A reimplementation of the paper's published code, with whose speed `benchmarks.paper` compares the package's.

Colours go through scikit-image in Python, one photo after another; the edge map is an input of the network, made by
scikit-image, too; the network has its layers as the tables list them, in float32, with the global vector repeated over
the grid and concatenated. Photos are reduced to 256x256, and that is the size of the results.
"""

import keras
import numpy as np
from keras import layers
from skimage import color, feature, io, util

SIZE = 256
SATURATION_FACTOR = 1.8
AB_SCALE = 128
BATCH_SIZE = 16


def lightness_and_ab(rgb):
    """L in 0..100, [height, width], and ab of the photo with its saturation raised, [height, width, 2]; not clipped.

    Args:
        rgb: sRGB, uint8 [height, width, 3].
    """
    rgb = rgb / 255
    lightness = color.rgb2lab(rgb)[..., 0]
    hsv = color.rgb2hsv(rgb)
    hsv[..., 1] *= SATURATION_FACTOR
    return lightness, color.rgb2lab(color.hsv2rgb(hsv))[..., 1:]


def batches(paths):
    """Batches of training data from files of one size, in their order: ([L, edges], target), float32 arrays."""
    for start in range(0, len(paths) - BATCH_SIZE + 1, BATCH_SIZE):
        lightness, edges, targets = [], [], []
        for path in paths[start : start + BATCH_SIZE]:
            one, ab = lightness_and_ab(np.asarray(keras.utils.load_img(path)))
            lightness.append(one)
            edges.append(feature.canny(one))
            targets.append(ab / AB_SCALE)
        inputs = [np.float32(lightness)[..., None], np.float32(edges)[..., None]]
        yield inputs, np.float32(targets)


def network(size=SIZE):
    """The network layer by layer, from L and edges, two inputs [batch, size, size, 1], to ab / 128.

    Layers are named as in the package.
    """

    def stack(features, prefix, *layout, first=1):
        for number, (filters, strides) in enumerate(layout, start=first):
            conv = layers.Conv2D(filters, 3, strides, "same", activation="relu", name=f"{prefix}_conv_{number}")
            features = conv(features)
        return features

    shared = (64, 2), (128, 1), (128, 2), (256, 2), (512, 1), (256, 1)
    lightness, edges = keras.Input((size, size, 1)), keras.Input((size, size, 1))
    local = stack(lightness, "lfn", *shared)
    classes = layers.Flatten()(stack(lightness, "cn", *shared, (128, 1), (32, 1), (8, 1), (1, 1)))
    classes = layers.Dense(1000, name="cn_dense_2")(layers.Dense(1500, name="cn_dense_1")(classes))
    repeated = layers.Reshape((size // 8, size // 8, 1000))(layers.RepeatVector((size // 8) ** 2)(classes))
    fused = layers.Concatenate()([local, repeated, stack(edges, "edn", (8, 2), (8, 2), (8, 2))])
    features = stack(layers.Conv2D(256, 1, activation="relu", name="fusion")(fused), "color", (128, 1))
    features = stack(layers.UpSampling2D()(features), "color", (64, 1), first=2)
    features = stack(layers.UpSampling2D()(features), "color", (32, 1), (16, 1), first=3)
    output = layers.Conv2D(2, 3, padding="same", activation="tanh", name="color_output")(features)
    return keras.Model([lightness, edges], layers.UpSampling2D()(output))


def colorize(model, path, result):
    """Colorizes a photo into a file, 256x256 whatever the size of the photo."""
    photo = np.asarray(keras.utils.load_img(path, target_size=(SIZE, SIZE)))
    lightness = color.rgb2lab(photo)[..., 0]
    inputs = [lightness[None, ..., None], feature.canny(lightness)[None, ..., None].astype(np.float32)]
    ab = model.predict(inputs, verbose=0)[0] * AB_SCALE
    io.imsave(result, util.img_as_ubyte(color.lab2rgb(np.dstack([lightness, ab]))))
