"""Iizuka, Simo-Serra and Ishikawa, *Let there be Color!*, SIGGRAPH 2016.

A fusion layer joins local features and global features of a fixed-size copy; a second head classifies the scene.
"""

import keras

from models.colorization import Fusion
from models.colorizer import ClassifyingColorizer
from models.layers import TORCH_BATCH_NORM, BatchNorm, Conv2D, CropLike, PadToMultiple, ResizeTo

# (filters, strides) of 3x3 convolutions.
LOW_LEVEL = ((64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1))
MID_LEVEL = ((512, 1), (256, 1))
GLOBAL = ((512, 2), (512, 1), (512, 2), (512, 1))
# Units of dense layers; the classification head branches off after the 512.
GLOBAL_DENSE = (1024, 512, 256)
GLOBAL_SIZE = 224


class Block:
    """Layers one after another, each with batch normalisation if wanted. All calls of a block share its weights."""

    def __init__(self, layers, batch_norm):
        self.layers = []
        for layer in layers:
            self.layers.append(layer)
            if batch_norm and not isinstance(layer, keras.layers.ZeroPadding2D):
                self.layers.append(BatchNorm(**TORCH_BATCH_NORM, name=f"{layer.name}_norm"))

    def __call__(self, features):
        for layer in self.layers:
            features = layer(features)
        return features


def convolutions(layout, name, batch_norm, doubled=False):
    """A block of 3x3 convolutions; the first may see its input at twice the height and width."""
    layers = []
    for number, (filters, strides) in enumerate(layout, start=1):
        padding = {"padding": "same", "doubled": doubled and number == 1}
        if strides == 2:  # Keras's "same" would pad at the bottom and right only.
            layers.append(keras.layers.ZeroPadding2D(name=f"pad_{name}_{number}"))
            padding = {"padding": "valid"}
        layers.append(Conv2D(filters, 3, strides, activation="relu", name=f"{name}_{number}", **padding))
    return Block(layers, batch_norm)


def dense(units, name, batch_norm):
    """A block of one dense layer with ReLU."""
    return Block([keras.layers.Dense(units, activation="relu", name=name)], batch_norm)


@keras.saving.register_keras_serializable("colorization")
class IizukaColorizer(ClassifyingColorizer):
    """The network of Iizuka et al., at any height and width. 42,353,839 parameters with 205 classes, no batch norm.

    Args:
        classes: Number of scene classes of the classification head; 0 for no head.
        classification_weight: The paper's alpha, the weight of the cross-entropy beside the squared error.
        batch_norm: Whether batch normalisation follows every layer, as in training in the paper.
        native_size: See `Colorizer`.
    """

    # Revision 1 padded strided convolutions below and to the right only, with a batch norm epsilon of 1e-3.
    revision = 2
    experiment_fields = ("classification_weight", "batch_norm", "native_size")

    def __init__(self, classes=0, classification_weight=1 / 300, batch_norm=True, native_size=GLOBAL_SIZE, **kwargs):
        # === Layers ===
        low_level = convolutions(LOW_LEVEL, "low", batch_norm)
        mid_level = convolutions(MID_LEVEL, "mid", batch_norm)
        global_level = convolutions(GLOBAL, "global", batch_norm)

        # === Graph ===
        lightness = keras.Input((None, None, 1), name="lightness")
        padded = PadToMultiple(8, name="pad")(lightness)
        scaled = keras.layers.Rescaling(1 / 100, dtype="float32", name="scale")(padded)
        whole = ResizeTo(GLOBAL_SIZE, GLOBAL_SIZE, name="resize")(scaled)

        vector = keras.layers.Flatten(name="flatten")(global_level(low_level(whole)))
        for number, units in enumerate(GLOBAL_DENSE[:2], start=1):
            vector = dense(units, f"dense_{number}", batch_norm)(vector)
        scene = vector
        vector = dense(GLOBAL_DENSE[2], "dense_3", batch_norm)(vector)

        features = Block([Fusion(name="fusion")], batch_norm)([mid_level(low_level(scaled)), vector])
        features = convolutions(((128, 1),), "color_a", batch_norm)(features)
        features = convolutions(((64, 1), (64, 1)), "color_b", batch_norm, doubled=True)(features)
        features = convolutions(((32, 1),), "color_c", batch_norm, doubled=True)(features)
        output = Conv2D(2, 3, padding="same", activation="sigmoid", dtype="float32", name="output")(features)
        output = keras.layers.UpSampling2D(dtype="float32", name="up")(output)
        output = CropLike(name="crop")(output, lightness)
        logits = None
        if classes:
            scene = dense(256, "scene_1", batch_norm)(scene)
            logits = keras.layers.Dense(classes, dtype="float32", name="scene_2")(scene)
        super().__init__(lightness, output, logits, classification_weight, **kwargs)

        # === Configuration ===
        self.batch_norm = batch_norm
        self.native_size = native_size

    def encode(self, ab):
        """ab scaled to 0..1, the range of the sigmoid."""
        return ab / 256 + 0.5

    def decode(self, output):
        return (output - 0.5) * 256
