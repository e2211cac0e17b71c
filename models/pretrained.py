"""The ImageNet weights of EfficientNet-Lite, which ship in weights/; `conversion.pretrained` wrote them."""

from configs import WEIGHTS
from models import efficientnet


def weights_file(variant):
    """The file in weights/ with the ImageNet weights of a variant."""
    return WEIGHTS / f"{variant}.weights.h5"


def load_encoder(encoder, variant):
    """Gives an encoder of `models.efficientnet` its ImageNet weights."""
    whole = load_classifier(variant)
    for layer in encoder.layers:
        layer.set_weights(whole.get_layer(layer.name).get_weights())


def load_classifier(variant):
    """The classifier of `models.efficientnet` with its ImageNet weights."""
    model = efficientnet.classifier(variant)
    model.load_weights(weights_file(variant))
    return model
