"""The paper's whole network: fusion layer and colorization network on top of LFN, CN and EDN.

*Automatic Natural Image Colorization*, ACIIDS 2020, doi:10.1007/978-3-030-41964-6_53, figure 2.
"""

import keras
import tensorflow as tf

from models.classification import classification_network
from models.colorizer import ClassifyingColorizer
from models.edge_detection import EdgeMap, edge_detection_network
from models.layers import CropLike, PadToMultiple, ResizeTo, conv
from models.local_features import local_features_network


class Fusion(keras.layers.Layer):
    """The fusion layer: a 1x1 convolution with ReLU over [local features, repeated global vector, edge features].

    The published graph repeats the 1000 values of the global vector at every place of the grid and concatenates. A
    1x1 convolution of a concatenation is the sum of the convolutions of its parts, and that of a repeated vector is one
    matrix product, so this layer slices one kernel instead: the same function and the same weights without the
    1264-channel map.

    Inputs: a list of local features [batch, height, width, 256], global vector [batch, 1000] and, where the network has
    them, edge features [batch, height, width, 8]. Output: [batch, height, width, filters].
    """

    filters = 256

    def __init__(self, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shapes):
        channels = sum(shape[-1] for shape in input_shapes)
        self.kernel = self.add_weight(
            shape=(channels, self.filters), initializer=self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, inputs):
        parts = tf.split(self.kernel, [features.shape[-1] for features in inputs], axis=0)
        local, vector, *edges = (self._project(features, part) for features, part in zip(inputs, parts, strict=True))
        return tf.nn.relu(tf.add_n([local, *edges]) + (vector + self.bias)[:, None, None])

    def compute_output_shape(self, input_shapes):
        return *input_shapes[0][:3], self.filters

    @staticmethod
    def _project(features, kernel):
        if len(features.shape) == 2:
            return tf.matmul(features, kernel)
        return tf.nn.conv2d(features, kernel[None, None], strides=1, padding="SAME")


def colorization_network(fused, initializer):
    """Fused features [batch, height/8, width/8, 256] to the ab encoding in -1..1, float32 [batch, height, width, 2]."""
    features = conv(fused, 128, initializer=initializer, name="color_conv_1")
    features = conv(features, 64, doubled=True, initializer=initializer, name="color_conv_2")
    features = conv(features, 32, doubled=True, initializer=initializer, name="color_conv_3")
    features = conv(features, 16, initializer=initializer, name="color_conv_4")
    # The loss is taken on this output, so it stays float32 under every numeric policy.
    output = conv(features, 2, activation="tanh", dtype="float32", initializer=initializer, name="color_output")
    return keras.layers.UpSampling2D(dtype="float32", name="color_up")(output)


@keras.saving.register_keras_serializable("colorization")
class PaperColorizer(ClassifyingColorizer):
    """The network of the paper: L to ab / 128, at any height and width.

    Args:
        classification_size: Height and width of the copy that the classification network sees, a multiple of 8. The
            paper's is 256, which gives 9,844,743 parameters.
        lightness_scale: The networks see L divided by this. 1 as published, 100 for values in 0..1.
        edges: Whether the network has the edge detection network.
        initializer: Keras name of the kernel initializer, "glorot_uniform" as published.
        classes: Number of scene classes of a head on the classification network; 0, as published, for no head.
        classification_weight: Weight of the head's cross-entropy in the loss.
        native_size: See `Colorizer`; None for `classification_size`.

    Example:
        >>> model = PaperColorizer(classification_size=64)
        >>> model.colorize(tf.fill([1, 97, 131, 1], 50.0)).shape
        TensorShape([1, 97, 131, 2])
    """

    experiment_fields = tuple(
        "classification_size lightness_scale edges initializer classification_weight native_size".split()
    )

    def __init__(
        self,
        classification_size=256,
        lightness_scale=1.0,
        edges=True,
        initializer="glorot_uniform",
        classes=0,
        classification_weight=0.0,
        native_size=None,
        **kwargs,
    ):
        # === Graph ===
        lightness = keras.Input((None, None, 1), name="lightness")
        padded = PadToMultiple(8, name="pad")(lightness)
        scaled = keras.layers.Rescaling(1 / lightness_scale, dtype="float32", name="scale")(padded)
        whole = ResizeTo(classification_size, classification_size, name="cn_resize")(scaled)

        local = local_features_network(scaled, initializer)
        scene = classification_network(whole, initializer)
        features = [local, scene]
        if edges:
            features.append(edge_detection_network(EdgeMap(name="canny")(padded), initializer))
        fused = Fusion(kernel_initializer=initializer, name="fusion")(features)
        output = CropLike(name="crop")(colorization_network(fused, initializer), lightness)
        logits = keras.layers.Dense(classes, dtype="float32", name="cn_scene")(scene) if classes else None
        super().__init__(lightness, output, logits, classification_weight, **kwargs)

        # === Configuration ===
        self.classification_size = classification_size
        self.lightness_scale = lightness_scale
        self.edges = edges
        self.initializer = initializer
        self.native_size = native_size or classification_size
