"""The local features network (LFN) of the paper: what is at each place of the photo."""

from models.layers import convs

# (filters, strides) of each 3x3 convolution; three strides of two bring the grid to 1/8 of the photo.
LAYERS = ((64, 2), (128, 1), (128, 2), (256, 2), (512, 1), (256, 1))


def local_features_network(lightness, initializer):
    """The LFN: scaled lightness [batch, height, width, 1] to features [batch, height/8, width/8, 256]."""
    return convs(lightness, LAYERS, initializer, "lfn_conv")
