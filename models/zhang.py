"""Zhang, Isola and Efros, *Colorful Image Colorization*, ECCV 2016.

Colour is a choice among 313 bins of ab: the network learns a distribution over them at a quarter of the photo's size,
with rare colours weighing more, and the annealed mean of the distribution becomes the colour.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

from common.files import replacing
from models.colorizer import Colorizer
from models.layers import BatchNorm, PadToMultiple, pad_to_multiple

# The bins inside sRGB on a grid of 10: the smallest and the largest b for a of -90, -80 and so on to 100.
LOWEST_B = (50, 20, 0, -20, -30, -40, -50, -50, -60, -70, -80, -80, -90, -100, -100, -110, -110, -110, -110, -90)
HIGHEST_B = (90, 90, 90, 90, 100, 100, 100, 100, 100, 100, 90, 90, 90, 90, 80, 80, 80, 70, 70, 0)
BINS = 313
# The file in a run's folder that keeps how often the training set has each bin.
HISTOGRAM = "ab_histogram.csv"
GRID = 10
# As in the released code; the paper says 5.
NEIGHBOURS = 10
SIGMA = 5.0
# The network's output is this many times smaller than the photo.
QUARTER = 4
# A photo has a loss of 0 if no |a| or |b| of its target exceeds this, in Lab units, as in the released code.
LEAST_AB = 5.0
# Number of likely colours of a pixel, and their least distance from each other in Lab units.
LIKELY, APART = 5, 20.0
# Share of the uniform distribution in class rebalancing, the paper's lambda.
UNIFORM_SHARE = 0.5
# The paper's temperature of the annealed mean.
TEMPERATURE = 0.38

# (filters, strides, dilation) of the 3x3 convolutions of each block.
BLOCKS = (
    ((64, 1, 1), (64, 2, 1)),
    ((128, 1, 1), (128, 2, 1)),
    ((256, 1, 1), (256, 1, 1), (256, 2, 1)),
    ((512, 1, 1),) * 3,
    ((512, 1, 2),) * 3,
    ((512, 1, 2),) * 3,
    ((512, 1, 1),) * 3,
)


def ab_bins():
    """The 313 bins in ab, float32 [313, 2], Lab units."""
    ranges = zip(range(-90, 101, GRID), LOWEST_B, HIGHEST_B, strict=True)
    return np.array([(a, b) for a, low, high in ranges for b in range(low, high + GRID, GRID)], np.float32)


@functools.cache
def soft_encoding_table():
    """Table of the soft encoding of every integer ab in -128..127, in place of a nearest-neighbour search.

    Returns:
        (bins, weights), int32 and float32 [65536, 10]: the ten nearest bins of ab at row (a + 128) * 256 + (b + 128),
        nearest first, of equally near ones the first, and their Gaussian weights, which sum to 1 (section 2.2 of the
        paper).
    """
    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij")
    ab = np.stack([a, b], axis=-1).reshape(-1, 2).astype(np.float32)
    bins = ab_bins()
    # |x - y|^2 = |x|^2 - 2 x y + |y|^2; all terms are whole numbers that float32 holds exactly.
    distances = np.sum(ab**2, axis=-1, keepdims=True) - 2 * ab @ bins.T + np.sum(bins**2, axis=-1)
    # For 15 % of all ab the tenth and the eleventh bin are equally near. With the bin's number in the key no two are
    # equal, so the choice does not depend on how the processor sorts.
    keys = distances.astype(np.int32) * len(bins) + np.arange(len(bins), dtype=np.int32)
    keys.partition(NEIGHBOURS)
    squares, nearest = np.divmod(np.sort(keys[:, :NEIGHBOURS]), len(bins))
    # Relative to the nearest, so that colours far outside the bins do not underflow.
    weights = np.exp(-(squares - squares[:, :1]) / (2 * SIGMA**2))
    return nearest.astype(np.int32), (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def every_fourth(ab):
    """Every fourth pixel of ab, [batch, height, width, 2], padded to multiples of 8 as the network's input is."""
    return pad_to_multiple(ab, 8)[:, ::QUARTER, ::QUARTER]


def nearest_bins(ab):
    """Index of the bin nearest to each ab: int32 [...], of ab in Lab units, float [..., 2]."""
    return tf.gather(soft_encoding_table()[0][:, 0], _table_row(ab))


def _table_row(ab):
    """The row of the soft encoding table for ab, [..., 2]."""
    a, b = tf.unstack(tf.clip_by_value(tf.cast(tf.round(ab), tf.int32) + 128, 0, 255), axis=-1)
    return a * 256 + b


def class_weights(histogram, uniform_share=UNIFORM_SHARE):
    """Class rebalancing (equation 4 of the paper): w proportional to 1 / ((1 - lambda) p + lambda / Q).

    Args:
        histogram: Pixels of the training set in each bin, [313]. Their shares p are smoothed over the bins with a
            Gaussian of sigma 5.
        uniform_share: The paper's lambda. With 0, w = 1 / p.

    Returns:
        float32 [313], scaled so that the mean weight over the smoothed shares is 1.
    """
    bins = ab_bins()
    squares = np.sum((bins[:, None] - bins[None]) ** 2, axis=-1)
    kernel = np.exp(-squares / (2 * SIGMA**2))
    shares = np.asarray(histogram, np.float64) / np.sum(histogram)
    smoothed = (kernel / kernel.sum(axis=0)) @ shares
    mixed = (1 - uniform_share) * smoothed + uniform_share / len(bins)
    weights = 1 / np.maximum(mixed, np.finfo(np.float32).tiny)  # Bins that no pixel is near have no share, either.
    return (weights / np.sum(smoothed * weights)).astype(np.float32)


def learn_class_weights(pairs, folder):
    """The class weights of a training set, from one pass over it.

    Args:
        pairs: The training set, a tf.data.Dataset of (L, ab).
        folder: The run's folder, which keeps the histogram in `HISTOGRAM`; an existing one is used instead.

    Returns:
        float32 [313], see `class_weights`.
    """
    file = folder / HISTOGRAM
    if not file.exists():
        counts = np.zeros(BINS, np.int64)
        for _, ab in pairs:
            counts += np.bincount(np.ravel(nearest_bins(every_fourth(ab))), minlength=BINS)
        table = np.column_stack([ab_bins(), counts]).astype(int)
        with replacing(file) as path:
            np.savetxt(path, table, fmt="%d", delimiter=",", header="a,b,pixels", comments="")
    return class_weights(np.loadtxt(file, delimiter=",", skiprows=1)[:, 2])


def soft_encode(ab):
    """The soft encoding of ab [..., 2] in Lab units: bins int32 and weights float32, [..., 10]."""
    bins, weights = soft_encoding_table()
    row = _table_row(ab)
    return tf.gather(bins, row), tf.gather(weights, row)


def annealed_mean(logits, temperature):
    """ab in Lab units, float32 [..., 2], of logits [..., 313] (equation 5)."""
    return tf.tensordot(tf.nn.softmax(logits / temperature), tf.constant(ab_bins()), axes=1)


def likely_colors(logits):
    """The likeliest bins of one pixel's logits [313] that are at least APART: ab in Lab units, float32 [LIKELY, 2]."""
    found = []
    for color in ab_bins()[np.argsort(-np.asarray(logits), kind="stable")]:
        if all(np.linalg.norm(color - other) >= APART for other in found):
            found.append(color)
        if len(found) == LIKELY:
            break
    return np.array(found)


def rebalanced_cross_entropy(encoding, logits, class_weights):
    """Cross-entropy with the soft encoding, weighted by the class weight of the nearest bin (equation 2).

    Args:
        encoding: Bins and weights, [batch, height, width, 10], see `soft_encode`.
        logits: float32 [batch, height, width, 313].
        class_weights: float32 [313].

    Returns:
        float32 [batch, height, width].
    """
    bins, weights = encoding
    expected = tf.reduce_sum(weights * tf.gather(logits, bins, batch_dims=3), axis=-1)
    cross_entropy = tf.reduce_logsumexp(logits, axis=-1) - expected
    return cross_entropy * tf.gather(class_weights, bins[..., 0])


@keras.saving.register_keras_serializable("colorization")
class ZhangColorizer(Colorizer):
    """The network of Zhang et al., at any height and width. 32,235,385 trainable parameters.

    Target and loss are those of the released training code; docs/networks.md names what differs.

    Args:
        native_size: See `Colorizer`.

    Attributes:
        temperature: Temperature of the annealed mean, chosen at test time: 1 gives the mean of the distribution, with
            dull colours, and towards 0 its mode, with vivid and blotchy ones. 0.38 in the paper.
        class_weights: float32 [313], see the function of that name; all 1 before `prepare`.
    """

    # Revision 1 padded strided convolutions below and to the right only, with a batch norm epsilon of 1e-3.
    revision = 2
    experiment_fields = ("native_size",)

    def __init__(self, native_size=256, **kwargs):
        # === Graph ===
        lightness = keras.Input((None, None, 1), name="lightness")
        features = PadToMultiple(8, name="pad")(lightness)
        features = keras.layers.Rescaling(1 / 100, offset=-0.5, dtype="float32", name="scale")(features)
        options = {"activation": "relu", "kernel_initializer": "he_normal"}
        for block, layout in enumerate(BLOCKS, start=1):
            for number, (filters, strides, dilation) in enumerate(layout, start=1):
                name, padding = f"block_{block}_{number}", "same"
                if strides == 2:  # Keras's "same" would pad at the bottom and right only.
                    features, padding = keras.layers.ZeroPadding2D(name=f"{name}_pad")(features), "valid"
                conv = keras.layers.Conv2D(filters, 3, strides, padding, dilation_rate=dilation, name=name, **options)
                features = conv(features)
            features = BatchNorm(epsilon=1e-5, name=f"block_{block}_norm")(features)
        features = keras.layers.Conv2DTranspose(256, 4, 2, "same", name="block_8_1", **options)(features)
        for number in (2, 3):
            features = keras.layers.Conv2D(256, 3, padding="same", name=f"block_8_{number}", **options)(features)
        logits = keras.layers.Conv2D(BINS, 1, dtype="float32", name="logits")(features)
        super().__init__(inputs=lightness, outputs=logits, **kwargs)

        # === Configuration ===
        self.native_size = native_size
        self.temperature = TEMPERATURE
        self.class_weights = np.ones(BINS, np.float32)

    def prepare(self, pairs, folder):
        """Sets the class weights, see `learn_class_weights`."""
        self.class_weights = learn_class_weights(pairs, folder)

    def encode(self, ab):
        """The soft encoding of every fourth pixel: bins int32 and weights float32, [batch, height/4, width/4, 10]."""
        return soft_encode(every_fourth(ab))

    def decode(self, output):
        """The annealed mean of logits [batch, height/4, width/4, 313], at four times their size (equation 5)."""
        ab = annealed_mean(output, self.temperature)
        return tf.image.resize(ab, QUARTER * tf.shape(ab)[1:3])

    def likely_colors(self, lightness, place):
        """The likeliest bins at a pixel, see `Colorizer.likely_colors`."""
        return likely_colors(self(lightness, training=False)[0, place[0] // QUARTER, place[1] // QUARTER])

    def color_loss(self, ab, output):
        """The rebalanced cross-entropy.

        A photo's loss is the sum over its pixels, 0 if it is all but gray, and a batch's the mean over its photos.
        """
        losses = tf.reduce_sum(rebalanced_cross_entropy(self.encode(ab), output, self.class_weights), axis=(1, 2))
        colored = tf.reduce_any(tf.abs(every_fourth(ab)) > LEAST_AB, axis=(1, 2, 3))
        return tf.reduce_mean(losses * tf.cast(colored, tf.float32))
