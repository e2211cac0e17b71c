"""Data distillation: a network learns the mean of the colours that a trained one gives copies of a photo.

Radosavovic et al., *Data Distillation: Towards Omni-Supervised Learning*, CVPR 2018. A trained network gives a photo,
its mirror image and its reduced and enlarged copies different colours, whose mean is nearer to the true ones than each.
"""

import tensorflow as tf

import models

# Least and greatest size of a copy, as a factor on the crop's.
SIZES = (0.7, 1.45)


class Teacher:
    """A trained model whose colours are the targets of training.

    In each step it sees one copy of the batch, of a random size and mirrored half of the time. Squared error then leads
    to the mean over all copies.

    Args:
        name: The model, see `models.load`, which may raise ModelError.
        seed: Decides, with the number of the step, which copy the model sees.
    """

    def __init__(self, name, seed):
        self._model = models.load(name)
        self._seed = seed

    def teach(self, lightness, target, step):
        """The target to learn in place of a batch's own.

        Args:
            lightness: L in 0..100, float32 [batch, height, width, 1].
            target: The photos' ab in Lab units, float32 [batch, height, width, 2], or (ab, labels); labels are kept.
            step: Number of the training step, an integer tensor.
        """
        ab = self._colorize_copy(lightness, step)
        return (ab, target[1]) if isinstance(target, tuple) else ab

    def _colorize_copy(self, lightness, step):
        """ab in Lab units, float32 [batch, height, width, 2], as the model gives it to this step's copy."""
        share, draw = tf.unstack(tf.random.stateless_uniform([2], [self._seed, tf.cast(step, tf.int64)]))
        factor, mirrored = SIZES[0] + (SIZES[1] - SIZES[0]) * share, draw < 0.5
        size, grid = tf.shape(lightness)[1:3], self._model.grid
        cells = tf.maximum(1, tf.cast(tf.round(factor * tf.cast(size, tf.float32) / grid), tf.int32))
        copy = _mirror_if(mirrored, tf.image.resize(lightness, grid * cells, antialias=True))
        return tf.image.resize(_mirror_if(mirrored, self._model.infer(copy)), size, antialias=True)


def _mirror_if(mirrored, image):
    return tf.where(mirrored, image[:, :, ::-1], image)
