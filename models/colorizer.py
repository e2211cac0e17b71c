"""What every colorizer promises: L goes in, ab comes out."""

import keras
import tensorflow as tf


class Colorizer(keras.Model):
    """A Keras model from lightness to the network's own encoding of ab.

    The model's input is CIELAB lightness, float32 in 0..100, [batch, height, width, 1], of any height and width; input
    scaling, edge maps and fixed-size copies are layers inside the graph. Its output is the encoding that the network
    learns, and the three methods below translate between that and ab in Lab units, so that training, evaluation and
    export need to know nothing else. A new network overrides what differs.

    `native_size` is the side in pixels of the photos that the network is made for: a good size to show it.

    The base class encodes ab as ab / 128, the paper's choice for a tanh output, and learns by mean squared error.
    """

    AB_SCALE = 128.0
    native_size = 256

    def encode(self, ab):
        """ab in Lab units, float32 [batch, height, width, 2], as the target that the output is compared with."""
        return ab / self.AB_SCALE

    def decode(self, output):
        """The model's output as ab in Lab units, float32 [batch, height, width, 2]."""
        return output * self.AB_SCALE

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean squared error between output and encoded target (paper, section 3.5). `y` is ab in Lab units."""
        return tf.reduce_mean(tf.math.squared_difference(y_pred, self.encode(y)))

    @tf.function(reduce_retracing=True)
    def colorize(self, lightness):
        """Predicts ab in Lab units, float32 [batch, height, width, 2], from L in 0..100, [batch, height, width, 1]."""
        return self.decode(self(lightness, training=False))
