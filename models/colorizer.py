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
    # Of the network's function: a network whose weights would give other colours than before counts it up, so that
    # files of earlier revisions are refused.
    revision = 1
    native_size = 256
    # Networks that also classify set these two and have two outputs: the encoding, and logits [batch, classes].
    classes = 0
    classification_weight = 0.0
    # What makes (L, target) of a batch that `fit` is given, where that is left to the compiled training step.
    to_pair = None

    @classmethod
    def from_config(cls, config):
        """Builds the network again. Raises ValueError where another revision of it made the configuration."""
        options = dict(config)
        revision = options.pop("revision", 1)
        if revision != cls.revision:
            raise ValueError(
                f"{cls.__name__} was revision {revision} when this was trained and is {cls.revision} now, which gives "
                "other colours with the same weights; train it again"
            )
        return cls(**options)

    def prepare(self, pairs, folder):
        """Learns before training what a network has to know of its training set, if anything.

        Args:
            pairs: The training set, a tf.data.Dataset of (L, ab).
            folder: The run's folder, where to keep it for a run that goes on.
        """

    def encode(self, ab):
        """ab in Lab units, float32 [batch, height, width, 2], as the target that the output is compared with."""
        return ab / self.AB_SCALE

    def decode(self, output):
        """The encoding that the model puts out as ab in Lab units, float32 [batch, height, width, 2]."""
        return output * self.AB_SCALE

    def color_loss(self, ab, output):
        """Mean squared error between the encoding put out and that of the target (paper, section 3.5)."""
        return tf.reduce_mean(tf.math.squared_difference(output, self.encode(ab)))

    def train_step(self, data):
        return super().train_step(self.to_pair(*data) if self.to_pair else data)

    def test_step(self, data):
        return super().test_step(self.to_pair(*data) if self.to_pair else data)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of a batch: `color_loss`, and for networks that classify classification_weight * cross-entropy.

        Each of several replicas contributes its part of the mean over all of them.

        Args:
            y: ab in Lab units, or, for networks that classify, (ab, labels int32 [batch]).
            y_pred: The model's output.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return self._batch_loss(y, y_pred) / replicas

    def _batch_loss(self, y, y_pred):
        if not self.classes:
            return self.color_loss(y, y_pred)
        (ab, labels), (output, logits) = y, y_pred
        color_loss = self.color_loss(ab, output)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        self.color_tracker.update_state(color_loss)
        self.scene_tracker.update_state(cross_entropy)
        self.accuracy_tracker.update_state(labels, logits)
        return color_loss + self.classification_weight * tf.reduce_mean(cross_entropy)

    def track_classification(self):
        """Makes the log name both losses and the accuracy; for the end of a constructor."""
        if self.classes:
            self.color_tracker = keras.metrics.Mean("color_loss")
            self.scene_tracker = keras.metrics.Mean("scene_loss")
            self.accuracy_tracker = keras.metrics.SparseCategoricalAccuracy("accuracy")

    def colorize(self, lightness):
        """Predicts ab in Lab units, float32 [batch, height, width, 2], from L in 0..100, [batch, height, width, 1]."""
        # A plain method, since a tf.function of one holds the model weakly, and callers may keep the method alone.
        return self._colorize(lightness)

    @tf.function(reduce_retracing=True)
    def _colorize(self, lightness):
        return self.infer(lightness)

    def infer(self, lightness):
        """What `colorize` does, for graphs of one's own: the plain operations, not a compiled function."""
        output = self(lightness, training=False)
        ab = self.decode(output[0] if self.classes else output)
        return ab[:, : tf.shape(lightness)[1], : tf.shape(lightness)[2]]
