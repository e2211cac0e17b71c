"""Groups of the 365 scene categories of Places2.

The groups are those of the scene hierarchy, a spreadsheet that https://github.com/CSAILVision/places365 links to, read
from the copy of it in doc/hierarchy/places.json of https://github.com/7d1-z/hgltr. A category may belong to several
groups. "Outdoor, natural" has four there: the three below and "man-made elements". Left out are categories that belong
to this one or to "outdoor, man-made" as well: barn, boardwalk, park, raft, vineyard and others.

That leaves 48 categories of at most 5,000 photos; the paper counts 228,942 natural photos.
"""

OUTDOOR_NATURAL = {
    "water, ice, snow": (
        "beach",
        "canal/natural",
        "coast",
        "creek",
        "crevasse",
        "glacier",
        "grotto",
        "hot_spring",
        "ice_floe",
        "ice_shelf",
        "iceberg",
        "islet",
        "lagoon",
        "lake/natural",
        "marsh",
        "mountain_snowy",
        "ocean",
        "pond",
        "river",
        "snowfield",
        "swamp",
        "swimming_hole",
        "underwater/ocean_deep",
        "waterfall",
        "watering_hole",
        "wave",
    ),
    "mountains, hills, desert, sky": (
        "badlands",
        "butte",
        "canyon",
        "cliff",
        "desert/sand",
        "desert/vegetation",
        "grotto",
        "mountain",
        "mountain_snowy",
        "rock_arch",
        "sky",
        "tundra",
        "valley",
        "volcano",
    ),
    "forest, field, jungle": (
        "bamboo_forest",
        "corn_field",
        "field/wild",
        "forest/broadleaf",
        "forest_path",
        "marsh",
        "orchard",
        "pasture",
        "rainforest",
        "swamp",
        "tree_farm",
        "wheat_field",
    ),
}

# What the data sets in configs.py may be limited to.
SCENES = {"outdoor, natural": frozenset().union(*OUTDOOR_NATURAL.values())}
