"""Scene categories of Places2: its group "outdoor, natural".

The groups are those of the scene hierarchy, a spreadsheet that https://github.com/CSAILVision/places365 links to, read
from the copy of it in doc/hierarchy/places.json of https://github.com/7d1-z/hgltr. These are the categories of "water,
ice, snow", "mountains, hills, desert, sky" and "forest, field, jungle", without those that also belong to "man-made
elements" or to "outdoor, man-made": barn, boardwalk, park, raft, vineyard and others.

That leaves 48 categories of at most 5,000 photos; the paper counts 228,942 natural photos.
"""

OUTDOOR_NATURAL = frozenset(
    """
    badlands bamboo_forest beach butte canal/natural canyon cliff coast corn_field creek crevasse desert/sand
    desert/vegetation field/wild forest/broadleaf forest_path glacier grotto hot_spring ice_floe ice_shelf
    iceberg islet lagoon lake/natural marsh mountain mountain_snowy ocean orchard pasture pond rainforest river
    rock_arch sky snowfield swamp swimming_hole tree_farm tundra underwater/ocean_deep valley volcano waterfall
    watering_hole wave wheat_field
    """.split()
)
