"""Diagrams of the networks, drawn from the layer tables in models/."""

from typing import NamedTuple

from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

from models import classification, colornet, edge_detection, iizuka, local_features, zhang

PLAIN, LOCAL, GLOBAL, EDGES, FUSION, COLOR = "#eeeeee", "#cfe3f5", "#d9efd3", "#fbe3c4", "#e5daf3", "#f8d3d6"
LEGEND = "Numbers are filters of 3x3 convolutions with ReLU;  ↓ halves height and width,  ↑ doubles them"


class Box(NamedTuple):
    """A part of a network: left, bottom, width and height, a title, a text below it, and a colour."""

    left: float
    bottom: float
    width: float
    height: float
    title: str
    text: str
    color: str


def describe(layout, line=6):
    """Layers (filters, strides, ...) as text, a number of them a line."""
    names = [f"{filters}{'↓' if strides == 2 else ''}" for filters, strides, *_ in layout]
    return "\n".join(" · ".join(names[start : start + line]) for start in range(0, len(names), line))


def dense(units):
    return "dense " + " · ".join(str(number) for number in units)


def paper():
    classes = f"{describe(classification.LAYERS)}\n{dense(classification.DENSE)}, repeated over the grid"
    boxes = [
        Box(0.0, 2.2, 1.3, 0.9, "L", "0..100", PLAIN),
        Box(2.0, 4.2, 4.2, 1.0, "Local features network", describe(local_features.LAYERS), LOCAL),
        Box(2.0, 1.9, 4.2, 1.5, "Classification network (fixed size)", classes, GLOBAL),
        Box(2.0, 0.1, 1.6, 1.0, "Canny", "edge map of L", PLAIN),
        Box(
            3.9,
            0.1,
            2.3,
            1.0,
            "Edge detection\nnetwork",
            describe([(filters, 2) for filters in edge_detection.EDGE_FILTERS]),
            EDGES,
        ),
        Box(6.9, 2.1, 1.7, 1.1, "Fusion", "1x1 conv 256", FUSION),
        Box(9.2, 2.1, 3.3, 1.1, "Colorization network", "128 ↑ 64 ↑ 32 · 16 · 2 (tanh) ↑", COLOR),
        Box(13.1, 2.2, 1.3, 0.9, "ab", "/ 128", PLAIN),
    ]
    return boxes, [(0, 1), (0, 2), (0, 3), (3, 4), (1, 5), (2, 5), (4, 5), (5, 6), (6, 7)]


def iizuka_et_al():
    scene = f"{describe(iizuka.GLOBAL)}\n{dense(iizuka.GLOBAL_DENSE)}"
    boxes = [
        Box(0.0, 3.4, 1.3, 0.9, "L", "own size", PLAIN),
        Box(0.0, 0.9, 1.3, 0.9, "L", "224x224", PLAIN),
        Box(2.0, 3.3, 3.6, 1.1, "Low-level features", describe(iizuka.LOW_LEVEL), LOCAL),
        Box(2.0, 0.8, 3.6, 1.1, "Low-level features", "the same weights", LOCAL),
        Box(6.2, 3.3, 2.6, 1.1, "Mid-level features", describe(iizuka.MID_LEVEL), LOCAL),
        Box(6.2, 0.7, 2.8, 1.3, "Global features", scene, GLOBAL),
        Box(9.5, 3.3, 1.7, 1.1, "Fusion", "1x1 conv 256", FUSION),
        Box(11.8, 3.3, 3.5, 1.1, "Colorization network", "128 ↑ 64 · 64 ↑ 32 · 2 (sigmoid) ↑", COLOR),
        Box(15.9, 3.4, 1.2, 0.9, "ab", "in 0..1", PLAIN),
        Box(11.8, 0.8, 3.5, 1.1, "Classification", "dense 256, kinds of scenes", EDGES),
    ]
    return boxes, [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (6, 7), (7, 8), (5, 9)]


def zhang_et_al():
    boxes = [Box(0.0, 1.0, 1.3, 1.1, "L", "(L - 50) / 100", PLAIN)]
    for number, layout in enumerate(zhang.BLOCKS, start=1):
        dilated = "\ndilation 2" if layout[0][2] == 2 else ""
        boxes.append(
            Box(0.2 + 1.75 * number, 0.7, 1.55, 1.7, f"Block {number}", describe(layout, line=1) + dilated, LOCAL)
        )
    boxes.append(Box(14.2, 0.7, 1.7, 1.7, "Block 8", "256 ↑ · 256\n· 256", LOCAL))
    boxes.append(Box(16.2, 0.9, 2.0, 1.3, "313 bins of ab", "1x1 conv, softmax\nat 1/4 size", FUSION))
    boxes.append(Box(18.6, 0.9, 1.9, 1.3, "ab", "annealed mean,\nbilinear x4", COLOR))
    return boxes, [(number, number + 1) for number in range(len(boxes) - 1)]


def colornet_flows():
    boxes = [
        Box(0.0, 5.6, 2.0, 1.0, "Flow 1", "rgb2gray in 0..1", EDGES),
        Box(0.0, 4.2, 2.0, 1.0, "Flow 2", "L / 255", GLOBAL),
    ]
    arrows = [(0, 2), (1, 2)]
    depth = len(colornet.FILTERS) - 1
    for level, filters in enumerate(colornet.FILTERS[:-1]):
        boxes.append(Box(2.6 + 1.2 * level, 4.9 - 1.25 * level, 1.7, 1.0, f"{filters}", "two convs", LOCAL))
        arrows.append((level + 2, level + 3))
    boxes.append(Box(2.6 + 1.2 * depth, 4.9 - 1.25 * depth, 1.9, 1.0, f"{colornet.FILTERS[-1]}", "two convs", FUSION))
    for step, filters in enumerate(colornet.FILTERS[-2::-1]):
        level = depth - 1 - step
        boxes.append(Box(9.0 + 1.2 * step, 4.9 - 1.25 * level, 1.7, 1.0, f"{filters}", "two convs", COLOR))
        arrows += [(depth + 2 + step, depth + 3 + step), (2 + level, depth + 3 + step)]
    boxes.append(Box(15.0, 4.9, 1.9, 1.0, "ab", "(ab + 128) / 255", PLAIN))
    arrows.append((len(boxes) - 2, len(boxes) - 1))
    return boxes, arrows


DIAGRAMS = {"architecture": paper, "colornet": colornet_flows, "iizuka": iizuka_et_al, "zhang": zhang_et_al}


def connect(axis, start, end):
    """Draws an arrow from a box to another, from side to side, or up or down where they overlap sideways."""
    if end.left >= start.left + start.width:
        tail = start.left + start.width, start.bottom + start.height / 2
        # Where several arrows meet, each arrives at the height nearest to where it comes from.
        low, high = end.bottom + 0.25 * end.height, end.bottom + 0.75 * end.height
        head = end.left, min(max(tail[1], low), high)
    else:
        middle = (max(start.left, end.left) + min(start.left + start.width, end.left + end.width)) / 2
        down = start.bottom > end.bottom
        tail = middle, start.bottom + (0 if down else start.height)
        head = middle, end.bottom + (end.height if down else 0)
    axis.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "color": "#333333", "lw": 1.2, "shrinkA": 0})


def draw_diagram(name, path):
    """Draws the diagram of a network, one of `DIAGRAMS`, into a file."""
    boxes, arrows = DIAGRAMS[name]()
    right = max(box.left + box.width for box in boxes)
    bottom, top = min(box.bottom for box in boxes), max(box.bottom + box.height for box in boxes)
    figure, axis = plt.subplots(figsize=(0.83 * right, 0.83 * (top - bottom + 1.0)), dpi=110, layout="constrained")
    axis.set(xlim=(-0.1, right + 0.1), ylim=(bottom - 0.8, top + 0.1), aspect="equal")
    axis.axis("off")
    for box in boxes:
        corner, style = (box.left, box.bottom), "round,pad=0,rounding_size=0.12"
        patch = FancyBboxPatch(corner, box.width, box.height, boxstyle=style, facecolor=box.color, edgecolor="#555555")
        axis.add_patch(patch)
        middle = box.left + box.width / 2
        axis.text(middle, box.bottom + box.height - 0.12, box.title, ha="center", va="top", fontsize=11, weight="bold")
        axis.text(middle, box.bottom + 0.12, box.text, ha="center", va="bottom", fontsize=9.5)
    for start, end in arrows:
        connect(axis, boxes[start], boxes[end])
    axis.text(right / 2, bottom - 0.6, LEGEND, ha="center", fontsize=9.5, color="#444444")
    figure.savefig(path)
    plt.close(figure)
