"""EfficientNet-Lite, a pretrained encoder: features that know what is in the picture.

Tan and Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, ICML 2019, in its Lite variant:
ReLU6, no squeeze-and-excitation. Batch normalisation is folded into the convolutions. The weights of ImageNet
classification ship in weights/; `conversion.pretrained` wrote them.
"""

import math

import keras
import tensorflow as tf

from configs import WEIGHTS

# Kernel size, expansion, filters, repeats and strides of the stages of EfficientNet-Lite0.
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
# Multipliers of width and depth.
VARIANTS = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite2": (1.1, 1.2)}
STEM_FILTERS = 32
HEAD_FILTERS = 1280
CLASSES = 1000


def blocks(variant):
    """(kernel size, expansion, filters, strides) of each block of a variant, its filters in multiples of 8."""
    width, depth = VARIANTS[variant]
    found = []
    for row, (kernel, expansion, filters, repeats, strides) in enumerate(STAGES):
        filters = int(filters * width + 4) // 8 * 8
        repeats = repeats if row in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
        found += [(kernel, expansion, filters, step) for step in (strides, *[1] * (repeats - 1))]
    return found


def encoder(variant):
    """The convolutions of a variant.

    Input: sRGB in 0..255, float32 [batch, height, width, 3], height and width multiples of 32. Outputs: the features
    before each halving and the last ones, at strides 2, 4, 8, 16 and 32; of EfficientNet-Lite0 these have 16, 24, 40,
    112 and 320 channels.
    """
    photo = keras.Input((None, None, 3), name="photo")
    features = keras.layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="scale")(photo)
    features = keras.layers.Conv2D(STEM_FILTERS, 3, 2, "same", name="stem")(features)
    features = keras.layers.ReLU(6.0, name="stem_relu")(features)
    before_halving = []
    for number, (kernel, expansion, filters, strides) in enumerate(blocks(variant)):
        if strides == 2:
            before_halving.append(features)
        features = _block(features, kernel, expansion, filters, strides, f"block_{number}")
    return keras.Model(photo, [*before_halving, features], name=variant.replace("-", "_"))


def _block(inputs, kernel, expansion, filters, strides, name):
    """An inverted residual: expand, convolve each channel, project, and add the input where the shapes agree.

    From [batch, height, width, channels] to [batch, height / strides, width / strides, filters].
    """
    features = inputs
    if expansion > 1:
        features = keras.layers.Conv2D(inputs.shape[-1] * expansion, 1, name=f"{name}_expand")(features)
        features = keras.layers.ReLU(6.0, name=f"{name}_expand_relu")(features)
    features = DepthwiseConv2D(kernel, strides, "same", name=f"{name}_depthwise")(features)
    features = keras.layers.ReLU(6.0, name=f"{name}_depthwise_relu")(features)
    features = keras.layers.Conv2D(filters, 1, name=f"{name}_project")(features)
    if strides == 1 and inputs.shape[-1] == filters:
        features = keras.layers.Add(name=f"{name}_add")([inputs, features])
    return features


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras's depthwise convolution with a gradient in float32, whatever the policy.

    TensorFlow computes that gradient on CPUs without vector instructions for bfloat16, which is several times slower.
    """

    def call(self, inputs):
        strides, padding = [1, *self.strides, 1], self.padding.upper()

        @tf.custom_gradient
        def convolve(inputs, kernel):
            def gradient(outputs):
                floats = [tf.cast(values, tf.float32) for values in (inputs, kernel, outputs)]
                arguments = {"strides": strides, "padding": padding}
                of_inputs = tf.nn.depthwise_conv2d_backprop_input(tf.shape(inputs), *floats[1:], **arguments)
                of_kernel = tf.nn.depthwise_conv2d_backprop_filter(floats[0], kernel.shape, floats[2], **arguments)
                return tf.cast(of_inputs, inputs.dtype), tf.cast(of_kernel, kernel.dtype)

            return tf.nn.depthwise_conv2d(inputs, kernel, strides, padding), gradient

        return convolve(inputs, tf.convert_to_tensor(self.kernel)) + tf.convert_to_tensor(self.bias)


def classifier(variant):
    """The whole network of a variant.

    Input: sRGB in 0..255, float32 [batch, height, width, 3]. Outputs: the mean features before the last layer,
    [batch, 1280], and logits of the classes of ImageNet, [batch, 1000].
    """
    body = encoder(variant)
    features = keras.layers.Conv2D(HEAD_FILTERS, 1, name="head")(body.outputs[-1])
    features = keras.layers.ReLU(6.0, name="head_relu")(features)
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="head_mean")(features)
    logits = keras.layers.Dense(CLASSES, dtype="float32", name="logits")(features)
    return keras.Model(body.input, [features, logits], name=f"{body.name}_classifier")


def weights_file(variant):
    """The file with the ImageNet weights of a variant's classifier."""
    return WEIGHTS / f"{variant}.weights.h5"


def load_classifier(variant):
    """The `classifier` of a variant with its ImageNet weights."""
    model = classifier(variant)
    model.load_weights(weights_file(variant))
    return model


def copy_weights(source, target):
    """Gives the layers of one network the weights of the layers of the same names in another one."""
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())
