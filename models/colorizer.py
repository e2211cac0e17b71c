"""What every colorizer promises: L goes in, ab comes out."""

import keras
import tensorflow as tf

# Initializers of a network whose weights are read next: drawing random ones takes half of the time to build it.
NOT_DRAWN = dict.fromkeys(("glorot_uniform", "he_normal"), keras.initializers.Zeros)


class Colorizer(keras.Model):
    """A Keras model from lightness to the network's own encoding of ab.

    The model's input is CIELAB lightness, float32 in 0..100, [batch, height, width, 1], of any height and width; input
    scaling, edge maps and fixed-size copies are layers inside the graph. Its output is the encoding that the network
    learns. `encode`, `decode` and `color_loss` translate between that and ab in Lab units, so that training, evaluation
    and export need to know nothing else. A new network overrides what differs.

    Attributes:
        native_size: Shorter side in pixels of the copy of a photo that the network sees, unless told otherwise.
        grid: The network pads height and width to multiples of this many pixels.
        experiment_fields: Names of the fields of an `Experiment` that the constructor takes. The model has attributes
            of the same names, which its configuration is made of.

    The base class encodes ab as ab / 128, the paper's choice for a tanh output, and learns by mean squared error.
    """

    AB_SCALE = 128.0
    # Raised by each change after which the same weights give other colours. Files of other revisions are refused.
    revision = 1
    native_size = 256
    grid = 8
    experiment_fields = ()

    def get_config(self):
        fields = {name: getattr(self, name) for name in self.experiment_fields}
        return {"name": self.name, "revision": self.revision, **fields}

    @classmethod
    def from_config(cls, config):
        """Builds the network again, for weights to be read: most are 0.

        Raises:
            ValueError: Another revision of the network made the configuration.
        """
        options = dict(config)
        revision = options.pop("revision", 1)
        if revision != cls.revision:
            raise ValueError(
                f"{cls.__name__} was revision {revision} when this was trained and is {cls.revision} now, which gives "
                "other colours with the same weights; train it again"
            )
        with keras.saving.custom_object_scope(NOT_DRAWN):
            return cls(**options)

    def prepare(self, pairs, folder):
        """Called once before training: loads pretrained weights, computes statistics of the training set.

        Args:
            pairs: The training set, a tf.data.Dataset of (L, ab).
            folder: The run's folder, to keep statistics in for a run that is resumed.
        """

    def encode(self, ab):
        """The target of the output, from ab in Lab units, float32 [batch, height, width, 2]."""
        return ab / self.AB_SCALE

    def decode(self, output):
        """ab in Lab units, float32 [batch, height, width, 2], from the encoding of ab that the model outputs."""
        return output * self.AB_SCALE

    def color_loss(self, ab, output):
        """Mean squared error between the model's output and the encoded target (paper, section 3.5).

        Args:
            ab: The target in Lab units, float32 [batch, height, width, 2].
            output: The encoding of ab that the model outputs.
        """
        return tf.reduce_mean(tf.math.squared_difference(output, self.encode(ab)))

    def compile(self, *arguments, to_pair=None, **options):
        """Keras's `compile`. `to_pair` makes (L, target) of a batch in the compiled step; None if `fit` has pairs."""
        super().compile(*arguments, **options)
        self._to_pair = to_pair

    def train_step(self, data):
        return super().train_step(self._to_pair(*data) if self._to_pair else data)

    def test_step(self, data):
        return super().test_step(self._to_pair(*data) if self._to_pair else data)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The `batch_loss` of this replica divided by the number of replicas, over which Keras adds losses up."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return self.batch_loss(x, y, y_pred, training) / replicas

    def batch_loss(self, lightness, target, output, training):
        """The mean loss of a batch; the target is ab in Lab units. Only subclasses use L and `training`."""
        return self.color_loss(target, output)

    @property
    def checkpointed_variables(self):
        """Variables that checkpoints keep, to resume from, beside the model's and its optimizer's."""
        return []

    def color_output(self, output):
        """The encoding of ab within the model's output."""
        return output

    def colorize(self, lightness):
        """Predicts ab in Lab units, float32 [batch, height, width, 2], from L in 0..100, [batch, height, width, 1]."""
        # A plain method, since a tf.function of one holds the model weakly, and callers may keep the method alone.
        return self._colorize(lightness)

    @tf.function(reduce_retracing=True, autograph=False)  # Rewriting Python's code takes a third of a second.
    def _colorize(self, lightness):
        return self.infer(lightness)

    def infer(self, lightness):
        """As `colorize`, but not compiled, for use inside another graph."""
        output = self(lightness, training=False)
        ab = self.decode(self.color_output(output))
        return ab[:, : tf.shape(lightness)[1], : tf.shape(lightness)[2]]

    def features(self, lightness):
        """Features by which hints spread: similar at places of one object, different elsewhere.

        Args:
            lightness: L in 0..100, float32 [batch, height, width, 1].

        Returns:
            float32 [batch, rows, columns, channels] of any size, over the whole picture; None where a network has none.
        """

    def likely_colors(self, lightness, place):
        """The likeliest colours at a pixel, to choose a hint from.

        Args:
            lightness: L in 0..100, float32 [1, height, width, 1].
            place: The pixel's row and column.

        Returns:
            ab in Lab units, [count, 2], the likeliest first; [] where a network has no distribution over colours.
        """
        return []


class ClassifyingColorizer(Colorizer):
    """A colorizer that can also classify the scene, by a second head.

    With the second head, targets are (ab, labels int32 [batch]), the output is [encoding, logits], and the log has
    both losses and the accuracy. Without it, this is a `Colorizer`.

    Args:
        lightness: The model's input.
        encoding: Its encoding of ab.
        logits: Logits of the scene classes, [batch, classes]; None for a model without the second head.
        classification_weight: Weight of the cross-entropy of the logits in the loss.
    """

    def __init__(self, lightness, encoding, logits, classification_weight, **kwargs):
        outputs = encoding if logits is None else [encoding, logits]
        super().__init__(inputs=lightness, outputs=outputs, **kwargs)
        self.classes = 0 if logits is None else logits.shape[-1]
        self.classification_weight = classification_weight
        if self.classes:
            self.color_tracker = keras.metrics.Mean("color_loss")
            self.scene_tracker = keras.metrics.Mean("scene_loss")
            self.accuracy_tracker = keras.metrics.SparseCategoricalAccuracy("accuracy")

    def batch_loss(self, lightness, target, output, training):
        """`color_loss` and, with the second head, classification_weight * cross-entropy of the scenes."""
        if not self.classes:
            return super().batch_loss(lightness, target, output, training)
        (ab, labels), (encoding, logits) = target, output
        color_loss = self.color_loss(ab, encoding)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        self.color_tracker.update_state(color_loss)
        self.scene_tracker.update_state(cross_entropy)
        self.accuracy_tracker.update_state(labels, logits)
        return color_loss + self.classification_weight * tf.reduce_mean(cross_entropy)

    def color_output(self, output):
        return output[0] if self.classes else output

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}
