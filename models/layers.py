"""Small layers that several networks share. A saved model is built anew by its class, so layers save only weights."""

import keras
import tensorflow as tf

# Torch's defaults, those of ColorNet and of Iizuka et al.
TORCH_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}
# Row u of the 4x4 kernel of a doubled `Conv2D` is the sum of the rows v of its 3x3 kernel with DOUBLED[u][v] = 1, and
# likewise for columns.
DOUBLED = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))


class Conv2D(keras.layers.Conv2D):
    """Keras's convolution that can up-sample its input by two first.

    After nearest-neighbour up-sampling by two, a 3x3 kernel multiplies the same pixel several times. A transposed
    convolution, whose 4x4 kernel holds sums of those weights, is the same function for 16/36 of the operations, without
    the up-sampled map in memory.

    The class has the name of Keras's because a .keras file stores a layer's weights under the name of its class.

    Args:
        doubled: Whether to up-sample first: the output has twice the input's height and width. For 3x3 kernels without
            strides, channels last.
        arguments, options: Those of the base class.
    """

    def __init__(self, *arguments, doubled=False, **options):
        super().__init__(*arguments, **options)
        self.doubled = doubled

    def convolution_op(self, inputs, kernel):
        if not self.doubled:
            return super().convolution_op(inputs, kernel)
        sums = tf.constant(DOUBLED, kernel.dtype)
        kernel = tf.einsum("ui,vj,ijcf->uvfc", sums, sums, kernel)
        batch, height, width = tf.unstack(tf.shape(inputs)[:3])
        shape = tf.stack([batch, 2 * height, 2 * width, self.filters])
        return tf.nn.conv2d_transpose(inputs, kernel, shape, strides=2, padding="SAME")

    def compute_output_shape(self, input_shape):
        batch, *grid, channels = super().compute_output_shape(input_shape)
        return batch, *(side and side * (1 + self.doubled) for side in grid), channels


def conv(features, filters, strides=1, *, initializer, activation="relu", **options):
    """A 3x3 convolution with bias and 'same' padding: the building block of every table in the paper.

    Args:
        features: [batch, height, width, channels].
        filters, strides, activation: See `Conv2D`.
        initializer: Kernel initializer.
        options: Further arguments of `Conv2D`, such as `name` and `doubled`.
    """
    options |= {"activation": activation, "kernel_initializer": initializer}
    return Conv2D(filters, 3, strides, "same", **options)(features)


def convs(features, layout, initializer, name):
    """`conv` layers one after another, named NAME_1 and so on; `layout` gives (filters, strides) of each."""
    for number, (filters, strides) in enumerate(layout, start=1):
        features = conv(features, filters, strides, initializer=initializer, name=f"{name}_{number}")
    return features


class Float32Layer(keras.layers.Layer):
    """A layer that computes in float32 under every numeric policy.

    Subclasses with `compute_output_shape` build faster: for other layers Keras traces `call` to learn the shape.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})


class PadToMultiple(Float32Layer):
    """Repeats the last row and column until height and width are multiples of `multiple`; `CropLike` undoes it.

    Networks that halve the picture several times and double it again need such sizes.
    """

    def __init__(self, multiple, **kwargs):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, image):
        return pad_to_multiple(image, self.multiple)

    def compute_output_shape(self, image_shape):
        batch, *sides, channels = image_shape
        return batch, *(side and -(-side // self.multiple) * self.multiple for side in sides), channels


class CropLike(Float32Layer):
    """Cuts [batch, height, width, channels] down to the height and width of a second picture."""

    def call(self, image, reference):
        shape = tf.shape(reference)
        return image[:, : shape[1], : shape[2]]

    def compute_output_shape(self, image_shape, reference_shape):
        return *reference_shape[:3], image_shape[-1]


class ResizeTo(Float32Layer):
    """Resizes [batch, any, any, channels] to a fixed height and width, bilinear with antialiasing."""

    def __init__(self, height, width, **kwargs):
        super().__init__(**kwargs)
        self.height, self.width = height, width

    def call(self, image):
        if image.shape[1:3] == (self.height, self.width):
            return image
        rows = _resize_matrix(tf.shape(image)[1], self.height)
        columns = _resize_matrix(tf.shape(image)[2], self.width)
        resized = resize_with(rows, columns, image)
        return tf.ensure_shape(resized, (None, self.height, self.width, image.shape[-1]))

    def compute_output_shape(self, image_shape):
        return image_shape[0], self.height, self.width, image_shape[-1]


class BatchNorm(keras.layers.BatchNormalization):
    """Keras's batch normalisation over the channels of pictures, run by TensorFlow's fused kernel.

    Same arguments, weights and results as the base class, which Keras 3 runs as separate element-wise operations.
    Vectors [batch, channels] go to the base class.
    """

    def call(self, inputs, training=False, mask=None):
        if len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        if not (training and self.trainable):
            return self._normalize(inputs, training=False)[0]
        outputs, mean, variance = self._normalize(inputs, training=True)
        # The kernel returns the sample variance; Keras keeps that of the population.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), variance.dtype)
        variance *= (count - 1) / count
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs

    def _normalize(self, inputs, training):
        statistics = {} if training else {"mean": self.moving_mean, "variance": self.moving_variance}
        # Autocasting would hand the kernel half-precision statistics; it wants them in float32.
        statistics, scale, offset = keras.tree.map_structure(
            lambda variable: tf.convert_to_tensor(variable.value), (statistics, self.gamma, self.beta)
        )
        return tf.compat.v1.nn.fused_batch_norm(
            inputs, scale, offset, epsilon=self.epsilon, is_training=training, **statistics
        )


def pad_to_multiple(image, multiple):
    """[batch, height, width, channels] with the last row and column repeated up to multiples of a number."""
    for axis in (1, 2):
        size = image.shape[axis] or tf.shape(image)[axis]
        padded_size = (size + multiple - 1) // multiple * multiple
        if isinstance(size, int) and size == padded_size:
            continue
        image = tf.gather(image, tf.minimum(tf.range(padded_size), size - 1), axis=axis)
    return image


def resize_with(rows, columns, image):
    """[batch, height, width, channels] resized by matrices [new_height, height] and [new_width, width]."""
    # Not tf.matmul of a batch with one matrix, in which TensorFlow 2.21 corrupts memory (tensorflow issue 123109).
    return tf.einsum("ij,bhjc->bhic", columns, tf.einsum("ij,bjwc->biwc", rows, image))


def _resize_matrix(size, new_size):
    """The matrix [new_size, size] that resizes a vector as tf.image.resize does, bilinear with antialiasing.

    That function's kernel runs neither under XLA nor in other runtimes; two matrix products do.
    """
    scale = tf.cast(size, tf.float32) / new_size
    centers = (tf.range(new_size, dtype=tf.float32)[:, None] + 0.5) * scale
    distance = tf.abs(tf.range(size, dtype=tf.float32)[None] + 0.5 - centers) / tf.maximum(scale, 1)
    weights = tf.maximum(1 - distance, 0)
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True)
