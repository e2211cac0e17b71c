"""The discriminator of the adversarial loss: it learns to tell predicted colours from true ones.

As in Sauer et al., *Projected GANs Converge Faster*, NeurIPS 2021, it sees a photo's features in a pretrained network,
at several scales. Spectral normalisation: Miyato et al., ICLR 2018. Hinge loss: Lim and Ye, *Geometric GAN*, 2017.
"""

import keras
import tensorflow as tf
from keras.layers import Conv2D, LeakyReLU, SpectralNormalization

FILTERS = 96
# Adam's: a higher rate than that of the network it judges (Heusel et al., NeurIPS 2017), and little momentum.
LEARNING_RATE, BETA_1, BETA_2 = 4e-4, 0.5, 0.99


class Discriminator:
    """A small convolutional network on the features of each scale, and the optimizer that trains it.

    Args:
        channels: Number of channels of the features at each scale.
    """

    def __init__(self, channels):
        features = [keras.Input((None, None, count)) for count in channels]
        self._network = keras.Model(features, [_judge(each) for each in features], name="discriminator")
        self._optimizer = keras.optimizers.Adam(LEARNING_RATE, BETA_1, BETA_2)
        self._optimizer.build(self._network.trainable_variables)

    @property
    def variables(self):
        """All its variables, and those of its optimizer."""
        return [*self._network.variables, *self._optimizer.variables]

    def adversarial_loss(self, predicted):
        """The loss of the colorizer: it falls as the features of its photos are taken for those of true colours.

        Args:
            predicted: Features of photos in predicted colours, a list of float32 [batch, height, width, channels].
        """
        return -_mean(self._network(predicted, training=False))

    def learn(self, predicted, true):
        """Takes a training step on features of photos in predicted and in true colours. Returns its hinge loss."""
        with tf.GradientTape() as tape:
            wrong = [tf.nn.relu(1 + logits) for logits in self._network(predicted, training=True)]
            wrong += [tf.nn.relu(1 - logits) for logits in self._network(true, training=True)]
            loss = 2 * _mean(wrong)  # The sum of both means.
        variables = self._network.trainable_variables
        self._optimizer.apply(tape.gradient(loss, variables), variables)
        return loss


def _judge(features):
    """A logit for each place: above 0 where the colours look true."""
    for filters, size in ((FILTERS, 1), (FILTERS, 3)):
        features = SpectralNormalization(Conv2D(filters, size, padding="same"))(features)
        features = LeakyReLU(0.2)(features)
    return SpectralNormalization(Conv2D(1, 1))(features)


def _mean(scales):
    """The mean over scales of their means."""
    return tf.add_n([tf.reduce_mean(tf.cast(values, tf.float32)) for values in scales]) / len(scales)
