"""Paths and experiments: the file to edit.

An experiment is everything that decides what a training run ends with. `python train.py NAME` trains one of
`EXPERIMENTS`; every field can be overridden on the command line: `python train.py scenes --epochs 3`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from common.options import Count, NotNegative, OnlyWith, Positive, RenderSize, Seed, Share, Side

# The photos to train on: any tree of folders, or of shards. To swap the data set, change this line, or `dataset` of the
# experiments that have folders of their own (scenes, demo, natural), or pass --dataset.
DATASET = Path("datasets/places2")
# Where `python -m data.fetch NAME` puts the data sets that have a name; see `DATASETS` below.
FETCHED = Path("datasets")
# Each training run gets a folder of its own in here.
RUNS = Path("runs")
# The trained model that the scripts use unless told otherwise.
MODEL = "natural"
# Where colorized photos go.
OUTPUTS = Path("outputs")
# Photos and trained weights that ship with the project.
SAMPLES = Path(__file__).parent / "data" / "samples"
WEIGHTS = Path(__file__).parent / "weights"
# Pictures that the documentation shows.
DOCS = Path(__file__).parent / "docs"


@dataclass(frozen=True)
class Source:
    """Where a data set with a name comes from."""

    name: str  # Its name in TensorFlow Datasets.
    natural: bool = False  # Keep only the categories in `data.categories.OUTDOOR_NATURAL`.


# `python -m data.fetch places2` makes datasets/places2, a folder a category.
DATASETS = {
    # The paper's: natural scenes of Places2, 256x256.
    "places2": Source("places365_small", natural=True),
    # All 365 categories of it: also cities and interiors.
    "places365": Source("places365_small"),
    # Labeled Faces in the Wild: 13,233 photos of 250x250, a folder a person.
    "faces": Source("lfw"),
}


# The networks: the module and the class of each.
NETWORKS = {
    "paper": "models.colorization:PaperColorizer",
    "colornet": "models.colornet:ColorNet",
    "iizuka": "models.iizuka:IizukaColorizer",
    "zhang": "models.zhang:ZhangColorizer",
    "residual-encoder": "models.residual_encoder:ResidualEncoder",
}


@dataclass(frozen=True)
class Experiment:
    """One trained model: its data, network and recipe. The defaults are the recipe that the paper published."""

    # --- data

    dataset: tuple[Path, ...] = (DATASET,)  # Folders of colour photos, searched recursively.
    # Factor for each folder on how often its photos are drawn; none for 1 each.
    dataset_weights: Annotated[tuple[Positive, ...], OnlyWith("balance", (True,))] = ()
    # Draw photos by class folder: a class in proportion to the square root of its number of photos.
    balance: bool = False
    # Least standard deviation of a photo's ab in Lab units; other photos are skipped. 3 leaves out toned photos.
    min_chroma: NotNegative = 0.0
    # Share of the training crops whose gray input imitates old film, at random; see data/old_film.py.
    old_film: Share = 0.0
    crop: tuple[Side, Side] = (256, 256)  # Height and width in pixels of the crops that the network learns from.
    # Photos are first reduced to at most this many times the size that covers the crop.
    crop_margin: Annotated[float, Interval(ge=1)] = 1.25
    flip: bool = False  # Mirror half of the training crops.
    # Share of the photos kept for validation, chosen by the seed. The paper splits 90/10.
    validation_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    # Size of the cache of decoded photos in memory; the others are decoded anew each epoch.
    cache_gigabytes: NotNegative = 4.0

    # --- target

    # The paper's T: HSV saturation of the target is S' = min(T * S, 1). 1 leaves the photo as it is.
    saturation_factor: NotNegative = 1.8
    chroma_factor: Positive = 1.0  # Factor on the target's ab. Unlike T, it keeps the hue of blue in CIELAB.
    # Further factor on the target's ab for the photos of each folder; none for 1 each.
    dataset_chroma_factors: tuple[Positive, ...] = ()

    # --- network; a field that only other networks know has no effect, and is refused on the command line

    # Which network to build; see models/.
    model: Literal[*NETWORKS] = "paper"
    classification_size: Side = 256  # paper: height and width of the copy that the classification network sees.
    lightness_scale: Positive = 1.0  # paper: the network sees L (0..100) divided by this.
    edges: bool = True  # paper, residual-encoder: with the edge detection network.
    # residual-encoder: the encoder, pretrained on ImageNet.
    encoder: Literal["efficientnet-lite0", "efficientnet-lite2", "vgg16"] = "efficientnet-lite0"
    scene: bool = True  # residual-encoder: with a global vector, from the mean of the deepest features.
    attention: bool = False  # residual-encoder: with blocks of self-attention at the decoder's two deepest scales.
    # residual-encoder: with a learnt gain that weakens colours in shadows, as the last layer.
    shadow_gain: Annotated[bool, OnlyWith("loss", ("squared", "huber", "blurred"))] = False
    # residual-encoder: `squared` or `huber`, the error of ab / 128; `blurred`, squared error also of blurred ab;
    # `bins`, cross-entropy over Zhang's bins; `both`, squared error and cross-entropy.
    loss: Literal["squared", "huber", "blurred", "bins", "both"] = "squared"
    # residual-encoder: weight of the perceptual loss, in EfficientNet-Lite0's features of the colorized photo.
    perceptual_weight: NotNegative = 0.0
    # residual-encoder: weight of the adversarial loss, by a discriminator that learns beside the network. A run with it
    # ends with its last epoch, since the validation loss leaves it out.
    adversarial_weight: NotNegative = 0.0
    # residual-encoder: share of the training steps in which the encoder is frozen. After them all weights learn, at a
    # tenth of the learning rate.
    frozen_share: Annotated[Share, OnlyWith("model", ("residual-encoder",))] = 0.0
    # paper, colornet: Keras initializer of the kernels; "he_fan_out", for colornet alone, is that of its code.
    initializer: Literal[
        "glorot_normal", "glorot_uniform", "he_fan_out", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform"
    ] = "glorot_uniform"
    # paper, iizuka: weight of the cross-entropy of the scene class, which is the class folder. With 0, or without class
    # folders, the network does not classify.
    classification_weight: NotNegative = 0.0
    batch_norm: bool = True  # iizuka: with batch normalisation after every layer.
    # colornet: the network's input, the gray value (0..1) of the neutral of equal L, or L.
    flow: Literal["gray", "lightness"] = "lightness"
    downsampling: Literal["pool", "stride"] = "pool"  # colornet: max pooling, or strided convolutions.
    # colornet: transposed convolutions, or resizing followed by a convolution.
    upsampling: Literal["transposed", "resize"] = "transposed"
    # colornet: the network's output, (ab + 128) / 255, or ab / 128 bounded by tanh.
    encoding: Literal["shifted", "centred"] = "shifted"
    # colornet: a pixel's loss has the weight 1 + chroma_weight * chroma / 128, scaled to a mean of 1.
    chroma_weight: NotNegative = 0.0

    # --- colorizing

    # Shorter side in pixels of the copy of a photo that the network sees; None for the crop's shorter side.
    render_size: RenderSize | None = None

    # --- training

    # A trained model of the same network whose weights training starts from: a name, a run's folder or a file; None for
    # new weights.
    start_from: str | None = None
    epochs: Count = 40  # Passes over the training photos.
    batch_size: Count = 16  # Photos a training step.
    # SGD without momentum, Adam or AdamW (0.9, beta_2), or AdaDelta (0.9, epsilon 1e-6).
    optimizer: Literal["sgd", "adam", "adamw", "adadelta"] = "sgd"
    # Decay rate of the second moment.
    beta_2: Annotated[float, Interval(ge=0, lt=1), OnlyWith("optimizer", ("adam", "adamw"))] = 0.999
    learning_rate: Positive = 0.01  # Learning rate of the first step, or the peak of the cosine schedule.
    # adam: L2 penalty, whose gradient Adam adapts too, as in Caffe and PyTorch. adamw: decoupled.
    weight_decay: Annotated[NotNegative, OnlyWith("optimizer", ("adam", "adamw"))] = 0.0
    # `plateau`: a tenth of the rate after 10 epochs in which val_loss (the loss, without validation photos) did not
    # fall by 1e-4. `steps`: the rate times decay_factor every decay_steps. `cosine`: warm-up and decay.
    schedule: Literal["constant", "plateau", "steps", "cosine"] = "plateau"
    # Training steps between two falls of the rate. The default is that of Zhang et al.
    decay_steps: Annotated[Count, OnlyWith("schedule", ("steps",))] = 215_000
    # Factor on the rate at each fall. The default is that of Zhang et al.
    decay_factor: Annotated[Positive, OnlyWith("schedule", ("steps",))] = 0.316
    # Steps over which the cosine schedule rises from zero to the learning rate.
    warmup_steps: Annotated[int, Interval(ge=0), OnlyWith("schedule", ("cosine",))] = 0
    seed: Seed = 0  # Decides the split, the initial weights, the order of the photos, crops and flips.
    # Numeric policy; `auto` chooses from the hardware.
    policy: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"

    @property
    def native_size(self):
        """Shorter side in pixels of the copy of a photo that the network sees when it colorizes."""
        return self.render_size or min(self.crop)


_SCENES = Experiment(
    dataset=(Path("datasets/intel-scenes/train"),),
    crop=(128, 128),
    flip=True,
    validation_fraction=0.05,
    classification_size=128,
    lightness_scale=100.0,
    initializer="he_normal",
    epochs=16,
    batch_size=32,
    optimizer="adamw",
    learning_rate=5e-4,
    weight_decay=1e-4,
    schedule="cosine",
    warmup_steps=400,
)

_COLORNET = Experiment(
    crop=(128, 256),
    saturation_factor=1.0,
    model="colornet",
    initializer="he_fan_out",
    optimizer="adam",
    learning_rate=1e-4,
    schedule="constant",
)

_NATURAL = Experiment(
    dataset=tuple(Path("datasets") / name for name in ("natural", "historic", "intel-scenes/train", "more", "caltech")),
    crop=(160, 160),
    flip=True,
    validation_fraction=0.02,
    cache_gigabytes=8.0,
    balance=True,
    min_chroma=3.0,
    old_film=0.5,
    saturation_factor=1.0,
    chroma_factor=1.28,
    model="residual-encoder",
    edges=False,
    attention=True,
    shadow_gain=True,
    frozen_share=0.35,
    render_size=224,
    epochs=4,
    batch_size=32,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    schedule="cosine",
    warmup_steps=300,
)

EXPERIMENTS = {
    # The published recipe: natural scenes of Places2 at 256x256, SGD 0.01, batch 16, 40 epochs. Published: epoch 14,
    # val_loss 0.02661; the published code lets S' exceed 1, this project clips it, so the losses do not compare.
    "paper": Experiment(),
    # The same networks with a recipe for some ten thousand photos of 150x150 and two hours on two CPU cores;
    # weights/scenes.keras comes from it.
    "scenes": _SCENES,
    # About a minute on the photos that ship: to see training run, not to get a model.
    "demo": replace(_SCENES, dataset=(SAMPLES,), validation_fraction=0.25, epochs=20, batch_size=4, warmup_steps=10),
    # ColorNet as published, in its two flows: 40,000 photos of MIT Places. The number of epochs is ours.
    "colornet-gray": replace(_COLORNET, flow="gray"),
    "colornet-l": _COLORNET,
    # ColorNet with its author's list of defects fixed.
    "colornet-plus": replace(
        _COLORNET,
        downsampling="stride",
        upsampling="resize",
        encoding="centred",
        chroma_weight=2.0,
        initializer="glorot_uniform",
    ),
    # Iizuka et al.: Places with 205 classes, 11 epochs of batches of 128.
    "iizuka": Experiment(
        crop=(224, 224),
        flip=True,
        saturation_factor=1.0,
        model="iizuka",
        classification_weight=1 / 300,
        epochs=11,
        batch_size=128,
        optimizer="adadelta",
        learning_rate=1.0,
        schedule="constant",
    ),
    # Zhang et al., the released training code: crops of 176 from photos of 256, batches of 40, 500,000 steps, which are
    # 97 epochs of the natural scenes of Places2.
    "zhang": Experiment(
        crop=(176, 176),
        crop_margin=256 / 176,
        flip=True,
        saturation_factor=1.0,
        model="zhang",
        epochs=97,
        batch_size=40,
        optimizer="adam",
        beta_2=0.99,
        learning_rate=3.16e-5,
        weight_decay=1e-3,
        schedule="steps",
    ),
    # Any photo: a decoder on an encoder pretrained on ImageNet. weights/natural.keras began with these folders.
    "natural": _NATURAL,
    # Dahl's residual encoder: VGG-16, loss on blurred copies too. Its weights come from the internet.
    "residual-encoder": replace(
        _NATURAL,
        dataset=(DATASET,),
        crop=(224, 224),
        balance=False,
        old_film=0.0,
        chroma_factor=1.0,
        encoder="vgg16",
        scene=False,
        attention=False,
        shadow_gain=False,
        loss="blurred",
        frozen_share=1.0,
    ),
}
