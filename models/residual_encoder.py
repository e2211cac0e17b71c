"""A colorizer on a pretrained encoder: the network of `natural`, and the residual encoder it comes from.

Dahl, *Automatic Colorization*, 2016 (tinyclouds.org/colorize): the features of a classification network are joined from
deep to shallow by 1x1 convolutions, up-sampling by two and addition. As in the paper (ACIIDS 2020), a global vector is
added at the deepest scale, and the edge detection network can be.
"""

import keras
import numpy as np
import tensorflow as tf

from common.errors import UserError, first_line
from models import efficientnet, zhang
from models.attention import attend
from models.colorizer import Colorizer
from models.discriminator import Discriminator
from models.edge_detection import EdgeMap, edge_detection_network
from models.layers import BatchNorm, Float32Layer, PadToMultiple, conv, pad_to_multiple
from models.precision import numeric_policy
from utils import lab_to_rgb, neutral_from_lightness

# Error in ab / 128 above which Huber's loss is linear: 10 Lab units.
HUBER_DELTA = 10 / 128
# The losses that learn a distribution over Zhang's bins.
WITH_BINS = ("bins", "both")
# Weight of the squared error beside the cross-entropy, for the loss "both".
ERROR_WEIGHT = 80.0
# Filters of the last 3x3 convolution.
LAST_FILTERS = 64
# The edge detection network's stride.
EDGE_STRIDE = 8
# L below which `ShadowGain` acts.
SHADOWS_BELOW = 50
# Added to the spread of each channel of the perceptual loss, for channels that are 0 in all of a batch.
SMALLEST_SPREAD = 1e-3
# (window, standard deviation) in pixels of the Gaussian blurs of Dahl's loss.
BLURS = ((3, 0.8), (5, 1.1))


class ToVgg(Float32Layer):
    """sRGB in 0..255, [batch, height, width, 3], as VGG-16 takes it: BGR, less ImageNet's mean colour."""

    def call(self, photo):
        # Outside a layer, the mean colour would become a second input of an ONNX file.
        return keras.applications.vgg16.preprocess_input(photo)


def vgg16():
    """VGG-16 (Simonyan and Zisserman, ICLR 2015) without its dense layers, with random weights.

    Input: sRGB in 0..255, float32 [batch, height, width, 3]. Outputs: the last features before each pooling, at strides
    1, 2, 4, 8 and 16, with 64, 128, 256, 512 and 512 channels.
    """
    photo = keras.Input((None, None, 3), name="photo")
    network = keras.applications.VGG16(include_top=False, weights=None)
    features = ToVgg(name="to_vgg")(photo)
    outputs = []
    for layer in network.layers[1:]:
        if isinstance(layer, keras.layers.MaxPooling2D):
            outputs.append(features)
        features = layer(features)
    return keras.Model(photo, outputs, name="vgg16")


def download_vgg16():
    """Keras's VGG-16 with its ImageNet weights and without its dense layers. Raises UserError where that fails."""
    try:
        return keras.applications.VGG16(include_top=False)
    except Exception as error:  # Keras raises no narrower one where a download fails.
        raise UserError(
            f"VGG-16's weights cannot be downloaded ({first_line(error)}); start again, or get the file elsewhere "
            "and put it into ~/.keras/models"
        ) from error


# The stride of each encoder's deepest features, and the decoder's filters at that and each finer scale. On the small
# encoders it ends at a quarter of the photo's size, on VGG-16, as published, at the whole.
ENCODERS = {
    **dict.fromkeys(efficientnet.VARIANTS, (32, (256, 192, 128, 64))),
    "vgg16": (16, (512, 512, 256, 128, 64)),
}


class ToNeutral(Float32Layer):
    """L in 0..100, [batch, height, width, 1], as sRGB of that gray in 0..255, [batch, height, width, 3]."""

    def call(self, lightness):
        return tf.concat([255 * neutral_from_lightness(lightness)] * 3, axis=-1)  # LiteRT cannot run tf.repeat here.


class ShadowGain(Float32Layer):
    """Weakens ab in shadows, by a gain that rises from a learnt weight at L = 0, at first 1, linearly to 1 at L = 50.

    Call with ab, [batch, rows, columns, 2], and L in 0..100, [batch, stride * rows, stride * columns, 1].
    """

    def __init__(self, stride, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def build(self, *_):
        self.darkest = self.add_weight(initializer="ones", name="darkest")

    def call(self, ab, lightness):
        lightness = tf.nn.avg_pool2d(lightness, self.stride, self.stride, "VALID")
        return ab * (1 - (1 - self.darkest) * tf.nn.relu(1 - lightness / SHADOWS_BELOW))


@keras.saving.register_keras_serializable("colorization")
class ResidualEncoder(Colorizer):
    """L to ab on a pretrained encoder, at any height and width.

    Args:
        encoder: A key of `ENCODERS`. `prepare` gives it its ImageNet weights.
        scene: Whether a global vector, from the mean of the deepest features, is added at their scale.
        edges: Whether features of the edge detection network are added at an eighth of the size.
        attention: Whether the two deepest scales of the decoder end with blocks of self-attention, which tell each
            place what lies far from it.
        shadow_gain: Whether a `ShadowGain` ends the network; without effect where the loss learns bins.
        loss: Output and loss. "squared" and "huber": ab / 128. "blurred": ab / 128 and the squared error also of its
            blurred copies (Dahl 2016). "bins": logits of Zhang's 313 bins, rebalanced cross-entropy. "both": ab /
            128 and logits, squared error and cross-entropy; the colours are those of ab / 128.
        perceptual_weight: Weight of the perceptual loss: the mean absolute difference between EfficientNet-Lite0's
            features of the photo in predicted and in true colours, at strides 8, 16 and 32, each channel divided by
            its standard deviation over the batch in true colours.
        adversarial_weight: Weight of the adversarial loss in training, by a `Discriminator` of the same features.
        native_size: See `Colorizer`.

    Attributes:
        temperature: Temperature of the annealed mean, see `ZhangColorizer`; only with the loss "bins".
        class_weights: float32 [313], see `zhang.class_weights`; all 1 before `prepare`.
    """

    experiment_fields = tuple(
        "encoder scene edges attention shadow_gain loss perceptual_weight adversarial_weight native_size".split()
    )

    def __init__(
        self,
        encoder="efficientnet-lite0",
        scene=True,
        edges=False,
        attention=False,
        shadow_gain=False,
        loss="squared",
        perceptual_weight=0.0,
        adversarial_weight=0.0,
        native_size=224,
        **kwargs,
    ):
        # === Layers ===
        deepest_stride, widths = ENCODERS[encoder]
        body = vgg16() if encoder == "vgg16" else efficientnet.encoder(encoder)
        stride = deepest_stride // 2 ** (len(widths) - 1)
        channels = {"bins": zhang.BINS, "both": 2 + zhang.BINS}.get(loss, 2)

        # === Graph ===
        lightness = keras.Input((None, None, 1), name="lightness")
        padded = PadToMultiple(deepest_stride, name="pad")(lightness)
        scales = body(ToNeutral(name="neutral")(padded))[::-1][: len(widths)]
        features = _deepest(scales[0], widths[0], scene)
        features = attend(features, "attention_0") if attention else features
        for number, (skip, filters) in enumerate(zip(scales[1:], widths[1:], strict=True), start=1):
            features = keras.layers.Conv2D(filters, 1, name=f"up_{number}")(features)
            features = keras.layers.UpSampling2D(name=f"up_{number}_double")(features)
            skip = BatchNorm(name=f"skip_{number}_norm")(skip)  # The scales of the encoder's features differ tenfold.
            parts = [features, keras.layers.Conv2D(filters, 1, name=f"skip_{number}")(skip)]
            if edges and deepest_stride // 2**number == EDGE_STRIDE:
                drawn = edge_detection_network(EdgeMap(name="canny")(padded), "he_normal")
                parts.append(keras.layers.Conv2D(filters, 1, name="edges_project")(drawn))
            features = keras.layers.ReLU(name=f"join_{number}")(keras.layers.Add(name=f"sum_{number}")(parts))
            features = conv(features, filters, initializer="he_normal", name=f"decoder_{number}")
            if attention and number == 1:
                features = attend(features, "attention_1")
        features = conv(features, LAST_FILTERS, initializer="he_normal", name="decoder_last")
        # Zeros, so that training starts from gray and not from random colours.
        output = keras.layers.Conv2D(channels, 1, kernel_initializer="zeros", dtype="float32", name="output")(features)
        if shadow_gain and loss not in WITH_BINS:
            output = ShadowGain(stride, name="shadow_gain")(output, padded)
        super().__init__(inputs=lightness, outputs=output, **kwargs)

        # === Configuration ===
        self.encoder_name = encoder
        self.encoder = body
        self.scene = scene
        self.edges = edges
        self.attention = attention
        self.shadow_gain = shadow_gain
        self.loss_name = loss
        self.perceptual_weight = perceptual_weight
        self.adversarial_weight = adversarial_weight
        self.native_size = native_size
        self.stride = stride
        self.grid = deepest_stride
        if loss == "bins":
            self.temperature = zhang.TEMPERATURE
        self.class_weights = np.ones(zhang.BINS, np.float32)
        self._features_of_photo = None
        self._discriminator = None
        self._judged = None  # Features of this step's batch in predicted and in true colours, for the discriminator.

    @classmethod
    def from_config(cls, config):
        """Builds the network again, in float32 where training is faster in bfloat16.

        In bfloat16 the colours of a photo would depend on how many photos share its batch.
        """
        policy = keras.config.dtype_policy().name
        with numeric_policy("float32" if policy == "mixed_bfloat16" else policy):
            return super().from_config(config)

    def prepare(self, pairs, folder):
        """Gives the encoder its ImageNet weights and, where bins are learned, sets the class weights."""
        name = self.encoder_name
        pretrained = download_vgg16() if name == "vgg16" else efficientnet.load_classifier(name)
        efficientnet.copy_weights(pretrained, self.encoder)
        if self.loss_name in WITH_BINS:
            self.class_weights = zhang.learn_class_weights(pairs, folder)

    def compile(self, *arguments, **options):
        """See `Colorizer.compile`. Makes the networks that losses need, here so that timed steps have them, too."""
        super().compile(*arguments, **options)
        if self.perceptual_weight or self.adversarial_weight:
            judge = efficientnet.encoder("efficientnet-lite0")
            efficientnet.copy_weights(efficientnet.load_classifier("efficientnet-lite0"), judge)
            # A function hides the network from Keras, which would save and train it.
            self._features_of_photo = lambda rgb: judge(rgb, training=False)[2:]
        if self.adversarial_weight:
            self._discriminator = Discriminator([features.shape[-1] for features in judge.outputs[2:]])

    @property
    def checkpointed_variables(self):
        """See `Colorizer.checkpointed_variables`."""
        return self._discriminator.variables if self._discriminator else []

    def train_step(self, data):
        """A step of this network, then one of the discriminator on the same batch."""
        logs = super().train_step(data)
        if self._discriminator:
            self._discriminator.learn(*self._judged)
        return logs

    def batch_loss(self, lightness, target, output, training):
        """`color_loss` and, weighted as the constructor asks, the perceptual and, in training, adversarial loss."""
        loss = super().batch_loss(lightness, target, output, training)
        if self._features_of_photo is None:
            return loss
        predicted, true = self._features_in_colors(lightness, target, output)
        differences = [tf.reduce_mean(tf.abs(ours - theirs)) for ours, theirs in zip(predicted, true, strict=True)]
        loss += self.perceptual_weight * tf.add_n(differences)
        if training and self._discriminator:
            loss += self.adversarial_weight * self._discriminator.adversarial_loss(predicted)
            self._judged = [tf.stop_gradient(features) for features in predicted], true
        return loss

    def _features_in_colors(self, lightness, ab, output):
        """EfficientNet-Lite0's features of photos in predicted and in true colours, at strides 8, 16 and 32.

        Each channel is divided by its standard deviation over the batch, height and width in true colours.
        """
        lightness, ab = (pad_to_multiple(image, self.grid) for image in (lightness, ab))
        predicted = tf.image.resize(self._decoded(output), tf.shape(ab)[1:3], "bicubic")
        photos = [255 * lab_to_rgb(tf.concat([lightness, colors], axis=-1)) for colors in (predicted, ab)]
        predicted, true = [], []
        for ours, theirs in zip(*map(self._features_of_photo, photos), strict=True):
            ours, theirs = tf.cast(ours, tf.float32), tf.cast(theirs, tf.float32)
            spread = tf.math.reduce_std(theirs, axis=(0, 1, 2)) + SMALLEST_SPREAD
            predicted.append(ours / spread)
            true.append(theirs / spread)
        return predicted, true

    def encode(self, ab):
        """The mean ab / 128 of each of the output's pixels, float32 [batch, height/stride, width/stride, 2]."""
        padded = pad_to_multiple(ab, self.grid)
        return tf.nn.avg_pool2d(padded, self.stride, self.stride, "VALID") / self.AB_SCALE

    def decode(self, output):
        """ab in Lab units at the size of the padded photo."""
        ab = self._decoded(output)
        return tf.image.resize(ab, self.stride * tf.shape(ab)[1:3])

    def _decoded(self, output):
        """ab in Lab units at the size of the output."""
        if self.loss_name == "bins":
            return zhang.annealed_mean(output, self.temperature)
        return output[..., :2] * self.AB_SCALE

    def features(self, lightness):
        """The encoder's features at a sixteenth of the photo's size, see `Colorizer.features`."""
        padded = pad_to_multiple(lightness, self.grid)
        of_stride_16 = 4 if self.encoder_name == "vgg16" else 3
        features = self.encoder(ToNeutral()(padded), training=False)[of_stride_16]
        rows, columns = (-(-side // 16) for side in lightness.shape[1:3])
        return tf.cast(features[:, :rows, :columns], tf.float32)

    def likely_colors(self, lightness, place):
        """See `Colorizer.likely_colors`; [] for losses that learn no bins."""
        if self.loss_name not in WITH_BINS:
            return super().likely_colors(lightness, place)
        row, column = place[0] // self.stride, place[1] // self.stride
        return zhang.likely_colors(self(lightness, training=False)[0, row, column, -zhang.BINS :])

    def color_loss(self, ab, output):
        """The loss of the constructor's `loss`, without the perceptual loss."""
        target = self.encode(ab)
        if self.loss_name == "bins":
            return self._cross_entropy(target, output)
        if self.loss_name == "huber":
            # Twice Keras's, so that it equals the squared error of small errors.
            return 2 * tf.reduce_mean(keras.losses.huber(target, output, HUBER_DELTA))
        error = output[..., :2] - target
        loss = tf.reduce_mean(error**2)
        if self.loss_name == "blurred":
            blurred = [keras.ops.image.gaussian_blur(error, (size, size), (sigma, sigma)) for size, sigma in BLURS]
            return (loss + tf.add_n([tf.reduce_mean(each**2) for each in blurred])) / 3
        if self.loss_name == "both":
            return ERROR_WEIGHT * loss + self._cross_entropy(target, output)
        return loss

    def _cross_entropy(self, target, output):
        """Zhang's cross-entropy of the output's logits, which are its last channels."""
        encoding, logits = zhang.soft_encode(target * self.AB_SCALE), output[..., -zhang.BINS :]
        return tf.reduce_mean(zhang.rebalanced_cross_entropy(encoding, logits, self.class_weights))

    def get_config(self):
        # `encoder` is the network, and `loss` is an attribute of Keras's.
        return {**super().get_config(), "encoder": self.encoder_name, "loss": self.loss_name}


def _deepest(features, filters, scene):
    """The decoder's deepest scale: a 3x3 convolution, the global vector added where asked, ReLU."""
    features = BatchNorm(name="skip_0_norm")(features)
    # Where two convolutions are added, only one has a bias: tf2onnx would write them as one with two biases.
    local = keras.layers.Conv2D(filters, 3, padding="same", use_bias=not scene, name="decoder_0")(features)
    if scene:
        vector = keras.layers.GlobalAveragePooling2D(keepdims=True, name="scene_mean")(features)
        options = {"activation": "relu", "kernel_initializer": "he_normal"}
        vector = keras.layers.Conv2D(filters, 1, name="scene_1", **options)(vector)
        local = keras.layers.Add(name="scene_sum")([local, keras.layers.Conv2D(filters, 1, name="scene_2")(vector)])
    return keras.layers.ReLU(name="join_0")(local)
