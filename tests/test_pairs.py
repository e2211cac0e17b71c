"""The pipeline of L-to-ab pairs against scikit-image, one photo at a time."""

from dataclasses import replace

import numpy as np
import pytest
from skimage import color

from common.errors import OptionError
from common.images import write_photo
from configs import EXPERIMENTS
from data.pairs import (
    ALONE,
    Pairs,
    ReplicaShare,
    TrainingOrder,
    mean_ab,
    sampling_weights,
    training_crops,
    validation_crops,
)
from data.photos import PhotoStore, find_all_photos, find_photos
from training.data import photo_factors


@pytest.fixture
def store(tmp_path, photos):
    """A store of twelve photos of 96x128, each a shifted copy of one of four, with crops of 80x96."""
    for number in range(12):
        write_photo(tmp_path / f"{number:02}.png", np.roll(photos[number % 4], number * 10, axis=1))
    return PhotoStore(find_photos(tmp_path).paths, (80, 96), cache_bytes=10**8)


def reference(crop, saturation_factor):
    """L and K of one crop, uint8 [height, width, 3], as the paper describes them."""
    hsv = color.rgb2hsv(crop)
    hsv[..., 1] = np.minimum(hsv[..., 1] * saturation_factor, 1)
    return color.rgb2lab(crop)[..., :1], color.rgb2lab(color.hsv2rgb(hsv))[..., 1:]


def training_pairs(store, order, batch_size, saturation_factor=1.0, epoch=0, **options):
    crops = training_crops(store, order, batch_size, epoch=epoch)
    return Pairs(saturation_factor, **options).of(crops).take(crops.steps)


def collect(pairs):
    lightness, ab = zip(*pairs.as_numpy_iterator(), strict=True)
    return np.concatenate(lightness), np.concatenate(ab)


@pytest.mark.parametrize(("factor", "chroma_factor"), [(1.0, 1.0), (1.8, 1.0), (1.0, 1.35)])
def test_pairs_agree_with_scikit_image(store, factor, chroma_factor):
    order = TrainingOrder(np.arange(12), seed=3, flip=True)
    lightness, ab = collect(training_pairs(store, order, 4, factor, epoch=2, chroma_factor=chroma_factor))
    indices, draws = order.plan(2)
    assert lightness.shape == (12, 80, 96, 1) and ab.shape == (12, 80, 96, 2)
    assert lightness.dtype == ab.dtype == np.float32
    assert sorted(indices) == list(range(12)) and 0 < draws[:, 2].sum() < 12
    for position, (index, (down, right, mirrored, _)) in enumerate(zip(indices, draws, strict=True)):
        top, left = int(down * 16 + 0.5), int(right * 32 + 0.5)
        crop = store.load(index)[top : top + 80, left : left + 96]
        expected = reference(crop[:, ::-1] if mirrored else crop, factor)
        np.testing.assert_allclose(lightness[position], expected[0], atol=1e-3)
        np.testing.assert_allclose(ab[position], chroma_factor * expected[1], atol=3e-3)


def test_order_and_crops_depend_on_seed_and_epoch_only(store):
    def epoch(number, seed=3):
        order = TrainingOrder(np.arange(12), seed, flip=True)
        return collect(training_pairs(store, order, 4, epoch=number))[0]

    crops = training_crops(store, TrainingOrder(np.arange(12), 3, flip=True), 4)
    together = collect(Pairs(1.0).of(crops).take(9))[0]
    for number in range(3):
        np.testing.assert_array_equal(together[12 * number : 12 * (number + 1)], epoch(number))
    assert (epoch(0) != epoch(1)).any() and (epoch(0) != epoch(0, seed=4)).any()


def test_labels_come_with_their_photos(store):
    labels = np.arange(12, dtype=np.int32) * 10
    order = TrainingOrder(np.arange(12), seed=3, flip=False)
    pairs = training_pairs(store, order, 4, saturation_factor=1.0, labels=labels)
    found = np.concatenate([batch for _, (_, batch) in pairs.as_numpy_iterator()])
    np.testing.assert_array_equal(found, labels[order.plan(0)[0]])


def test_each_photo_has_its_own_factor(store):
    factors = np.linspace(0.5, 1.6, 12, dtype=np.float32)
    order = TrainingOrder(np.arange(12), seed=3, flip=True)
    plain = collect(training_pairs(store, order, 4, chroma_factor=1.2))
    scaled = collect(training_pairs(store, order, 4, chroma_factor=1.2, photo_factors=factors))
    np.testing.assert_array_equal(scaled[0], plain[0])
    of_photos = factors[order.plan(0)[0]][:, None, None, None]
    np.testing.assert_allclose(scaled[1], plain[1] * of_photos, rtol=1e-6)


def test_data_sets_give_their_photos_a_factor(tmp_path, photos):
    folders = tmp_path / "classes", tmp_path / "flat"
    for number, place in enumerate(["classes/b/1.png", "classes/a/2.png", "flat/3.png", "flat/4.png"]):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_photo(tmp_path / place, photos[number])
    experiment = replace(EXPERIMENTS["demo"], dataset=folders, dataset_chroma_factors=(0.5, 2.0))
    np.testing.assert_array_equal(photo_factors(experiment, find_all_photos(folders)), [0.5, 0.5, 2, 2])
    flat = replace(experiment, dataset=folders[1:], dataset_chroma_factors=(2.0,))
    np.testing.assert_array_equal(photo_factors(flat, find_all_photos(folders[1:])), [2, 2])
    assert photo_factors(replace(experiment, dataset_chroma_factors=()), find_all_photos(folders)) is None
    with pytest.raises(OptionError, match="chroma-factors: 2 given; give one for each folder of --dataset, 1 in all"):
        photo_factors(replace(experiment, dataset=folders[:1]), find_all_photos(folders[:1]))


def test_shares_make_up_the_whole_and_epochs_go_on(store):
    def crops(batch_size, **options):
        order = TrainingOrder(np.arange(12), seed=3, flip=True)
        crops = training_crops(store, order, batch_size, **options)
        count = (crops.steps - options.get("step", 0)) * options.get("share", ALONE).count
        return np.concatenate([indices for _, indices in crops.dataset.take(count)])

    alone = crops(6)
    shares = [crops(2, share=ReplicaShare(3, 0, 2)), crops(2, share=ReplicaShare(3, 2, 1))]
    np.testing.assert_array_equal(alone, np.concatenate([shares[0][:4], shares[1][:2], shares[0][4:], shares[1][2:]]))
    np.testing.assert_array_equal(crops(2, step=4), crops(2)[8:])
    np.testing.assert_array_equal(crops(2, share=ReplicaShare(3, 0, 2), step=1), shares[0][4:])


def test_loops_over_the_data_end_without_waiting_for_a_search(store):
    crops = training_crops(store, TrainingOrder(np.arange(12), seed=3, flip=True), 6)
    for dataset in (crops.dataset, Pairs(1.0).of(crops)):
        assert dataset.options().autotune.enabled is False


@pytest.mark.parametrize(("count", "sizes"), [(12, [3, 3, 3, 3]), (7, [1, 2, 2, 2]), (2, [1, 1])])
def test_validation_is_shared_without_empty_batches(store, count, sizes):
    shares = [validation_crops(store, np.arange(count), 3, ReplicaShare(2, worker, 1)) for worker in (0, 1)]
    steps = zip(*(crops.dataset.take(crops.steps) for crops in shares), strict=True)
    batches = [batch for step in steps for _, batch in step]
    assert [len(batch) for batch in batches] == sizes
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(count))


def test_few_shards_are_read_from_at_a_time():
    shards = np.repeat(np.arange(20), 5)
    indices, _ = TrainingOrder(np.arange(100) + 7, 0, flip=False, shards=shards).plan(0)
    np.testing.assert_array_equal(np.sort(indices), np.arange(100) + 7)
    read = shards[indices - 7]
    assert [len(set(part)) for part in (read[:40], read[40:80], read[80:])] == [8, 8, 4]
    assert (np.diff(read[:40]) != 0).sum() > 20  # mixed, not one shard after the other


def test_without_flip_nothing_is_mirrored():
    assert not TrainingOrder(np.arange(50), 0, flip=False).plan(0)[1][:, 2].any()


def test_skipped_photos_are_made_up_for(store):
    for number in (0, 5, 6):
        store.paths[number].write_text("no photo")
    pairs = training_pairs(store, TrainingOrder(np.arange(12), 3, flip=False), 4, saturation_factor=1.0)
    lightness, _ = collect(pairs)
    assert len(lightness) == 12 and len(store.skipped) == 3


def test_training_drops_the_remainder_and_validation_spreads_it(store):
    training = training_crops(store, TrainingOrder(np.arange(12), 3, flip=False), 5)
    for crops, sizes in ((training, [5, 5]), (validation_crops(store, np.arange(12), 5), [4, 4, 4])):
        assert [len(batch) for batch, _ in crops.dataset.take(crops.steps)] == sizes


def test_validation_crops_are_central_and_in_order(store):
    crops = validation_crops(store, np.array([2, 5]), 2)
    ((pixels, indices),) = crops.dataset.take(crops.steps)
    assert indices.numpy().tolist() == [2, 5]
    np.testing.assert_array_equal(pixels, [store.load(index)[8:88, 16:112] for index in (2, 5)])


def test_mean_ab_is_that_of_the_photos(store):
    store.paths[3].write_text("no photo")
    chosen = [0, 4, 8]
    labs = [color.rgb2lab(store.load(index)) for index in chosen]
    expected = np.mean([lab[..., 1:].mean(axis=(0, 1)) for lab in labs], axis=0)
    np.testing.assert_allclose(mean_ab(store, np.arange(9), photos=3), expected, atol=1e-3)
    np.testing.assert_allclose(mean_ab(store, np.array([0, 3, 4, 8])), expected, atol=1e-3)


def test_small_classes_count_by_the_root_of_their_photos():
    labels = np.repeat([0, 1, 2], [100, 25, 4])
    weights = sampling_weights(labels, np.array([1.0, 1.0, 2.0])[labels])
    np.testing.assert_allclose(np.bincount(labels, weights), [10, 5, 4])
    order = TrainingOrder(np.arange(129) + 7, seed=0, flip=False, weights=weights)
    seen = np.zeros(129, int)
    for epoch in range(40):
        indices, _ = order.plan(epoch)
        assert len(indices) == 129
        counts = np.bincount(indices - 7, minlength=129)
        # As often as the weight says, rounded up or down.
        assert (np.abs(counts - 129 * weights / weights.sum()) < 1).all()
        seen += counts
    np.testing.assert_allclose(np.bincount(labels, seen) / seen.sum(), np.array([10, 5, 4]) / 19, atol=0.01)


def test_old_film_is_seen_by_its_share_of_the_crops(store):
    order = TrainingOrder(np.arange(12), seed=3, flip=True, old_film=0.5)
    store = PhotoStore(store.paths, (80, 96), cache_bytes=10**8, old_film=True)
    pixels, _ = next(iter(training_crops(store, order, 12).dataset))
    _, draws = order.plan(0)
    as_film = draws[:, 3] > 0
    assert pixels.shape == (12, 80, 96, 4) and 0 < as_film.sum() < 12
    lightness, ab = Pairs(saturation_factor=1.5)(pixels, None)
    expected, expected_ab = Pairs(saturation_factor=1.5)(pixels[..., :3], None)
    np.testing.assert_array_equal(ab, expected_ab)
    difference = np.abs(lightness - expected).mean(axis=(1, 2, 3))
    assert (difference[~as_film] < 0.2).all() and (difference[as_film] > 0.5).all()
