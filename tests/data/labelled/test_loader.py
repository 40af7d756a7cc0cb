"""Examples: read as the device reads them, varied by the seed alone, and never a crash."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import small_model, write_clip

from tlee.data.clips import open_clip, read_frames
from tlee.data.labelled.augment import AugmentConfig
from tlee.data.labelled.cache import FrameCache
from tlee.data.labelled.listing import Entry, Listing, read_listing
from tlee.data.labelled.loader import (
    READABLE,
    ClipDataset,
    ShuffledSampler,
    evaluation_batches,
    training_batches,
)
from tlee.frames import sample_indices

SPEC = small_model().config.frame_spec()
PLAIN = AugmentConfig(jitter=False)


@pytest.fixture(scope="module")
def listing(folders):
    return read_listing("folders", folders / "train")


@pytest.fixture
def damaged(listing, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    return replace(listing, entries=[Entry(tmp_path / "bad.mp4", (0,)), *listing.entries])


def test_clips_are_read_as_the_device_reads_them(listing):
    clips = ClipDataset(listing, SPEC)
    entry = listing.entries[4]
    with open_clip(str(entry.path)) as clip:
        expected = torch.stack([torch.from_numpy(frame) for frame in read_frames(clip, SPEC)])
    batch = clips[(0, 4)]
    assert torch.equal(batch.frames, expected)
    assert batch.targets.tolist() == [0, 1, 0] and entry.path.parent.name == "run"
    assert int(batch.entry) == 4 and int(batch.unreadable) == READABLE


def test_without_any_variation_training_sees_what_evaluation_sees(listing):
    for index in range(len(listing.entries)):
        trained, evaluated = ClipDataset(listing, SPEC, PLAIN)[(3, index)], ClipDataset(listing, SPEC)[(0, index)]
        assert torch.equal(trained.frames, evaluated.frames)


def test_several_labels_share_a_target(listing):
    several = replace(listing, entries=[replace(listing.entries[0], labels=(0, 2))])
    assert ClipDataset(several, SPEC)[(0, 0)].targets.tolist() == [0.5, 0, 0.5]


@pytest.mark.parametrize(
    "augment",
    [
        AugmentConfig(jitter=True),
        AugmentConfig(jitter=False, flip=True),
        AugmentConfig(jitter=False, crop=(0.3, 0.9)),
        AugmentConfig(jitter=False, colour=0.5),
    ],
    ids=["jitter", "flip", "crop", "colour"],
)
def test_variation_differs_by_epoch_and_is_fixed_by_the_seed(listing, augment):
    one, same, other = (ClipDataset(listing, SPEC, augment, seed) for seed in (0, 0, 1))
    torch.rand(3)  # the state of the process does not matter
    views = [one[(epoch, 2)].frames for epoch in range(8)]
    assert all(torch.equal(view, same[(epoch, 2)].frames) for epoch, view in enumerate(views))
    assert len({view.numpy().tobytes() for view in views}) > 1
    assert any(not torch.equal(view, other[(epoch, 2)].frames) for epoch, view in enumerate(views))


def test_varying_a_clip_leaves_the_random_numbers_of_the_process_alone(listing):
    clips = ClipDataset(listing, SPEC, AugmentConfig(colour=0.3, crop=(0.3, 1), flip=True))
    torch.manual_seed(0)
    expected = torch.rand(5)
    torch.manual_seed(0)
    _ = clips[(0, 0)]
    assert torch.equal(torch.rand(5), expected)


def test_jittered_frames_come_from_their_own_part_of_the_video():
    last, first = sample_indices(100, 4, [0.999] * 4), sample_indices(100, 4, [0.0] * 4)
    assert first == [0, 25, 50, 75] and last == [24, 49, 74, 99]
    assert sample_indices(100, 4, [0.5] * 4) == sample_indices(100, 4)


@pytest.mark.parametrize("cache", [False, True])
def test_with_published_sampling_training_sees_the_frames_of_evaluation_unless_jitter_is_asked_for(listing, cache):
    spec = SPEC._replace(sampling="published", interpolation="bilinear")
    seen = ClipDataset(listing, spec)[(0, 2)].frames
    with open_clip(str(listing.entries[2].path)) as clip:
        assert torch.equal(seen, torch.stack([torch.from_numpy(frame) for frame in read_frames(clip, spec)]))
    assert not torch.equal(seen, ClipDataset(listing, SPEC)[(0, 2)].frames)
    unsaid, asked = (
        ClipDataset(listing, spec, AugmentConfig(jitter=jitter), cache=FrameCache() if cache else None)
        for jitter in (None, True)
    )
    assert all(torch.equal(unsaid[(epoch, 2)].frames, seen) for epoch in range(3))
    assert any(not torch.equal(asked[(epoch, 2)].frames, seen) for epoch in range(3))
    assert ClipDataset(listing, SPEC, AugmentConfig()).jitters and not ClipDataset(listing, SPEC).jitters


@pytest.mark.parametrize("cache", [False, True])
def test_published_sampling_goes_by_the_frames_that_the_list_states(listing, cache):
    spec = SPEC._replace(sampling="published")
    stated = replace(listing, entries=[replace(listing.entries[0], frames=5)])
    with open_clip(str(stated.entries[0].path)) as clip:
        # 1, 2.7, 4.3 and 6, of which no more than 4, as the fourth frame has that number
        expected = torch.stack(
            [torch.from_numpy(f) for f in read_frames(clip, spec, [[0, 1, 3, 3][i] for i in spec.order])]
        )
    assert torch.equal(ClipDataset(stated, spec, cache=FrameCache() if cache else None)[(0, 0)].frames, expected)


@pytest.mark.parametrize("cache", [False, True])
def test_key_frames_are_those_of_the_device_and_their_order_too(listing, cache):
    spec = SPEC._replace(sampling="keyframes", any_order=True)
    clips = ClipDataset(listing, spec, PLAIN, cache=FrameCache() if cache else None)
    with open_clip(str(listing.entries[2].path)) as clip:
        expected = torch.stack([torch.from_numpy(frame) for frame in read_frames(clip, spec)])
    assert torch.equal(clips[(0, 2)].frames, expected)
    assert not torch.equal(ClipDataset(listing, SPEC)[(0, 2)].frames, expected)
    assert any(torch.equal(clips.single_frames()[(1, 2)].frames[0], frame) for frame in expected)
    assert ClipDataset(listing, spec, AugmentConfig()).jitters


def test_a_random_crop_is_resized_as_the_model_says(listing):
    augment = AugmentConfig(jitter=False, crop=(0.3, 0.9))
    area, bilinear = (ClipDataset(listing, SPEC._replace(interpolation=kind), augment) for kind in ("area", "bilinear"))
    one, other = area[(0, 1)].frames.float(), bilinear[(0, 1)].frames.float()
    assert not torch.equal(one, other) and float((one - other).abs().mean()) < 8  # the same region


def test_a_flip_mirrors_whole_clips_and_only_where_the_data_set_allows_it(listing):
    straight = ClipDataset(listing, SPEC)[(0, 0)].frames
    mirrored = straight.flip(2)
    allowed = ClipDataset(replace(listing, flips=True), SPEC, PLAIN)
    views = [allowed[(epoch, 0)].frames for epoch in range(12)]
    assert {torch.equal(view, mirrored) for view in views} == {True, False}
    assert all(torch.equal(view, mirrored) or torch.equal(view, straight) for view in views)
    refused = ClipDataset(listing, SPEC, PLAIN)
    assert all(torch.equal(refused[(epoch, 0)].frames, straight) for epoch in range(12))


def test_crop_and_colour_are_the_same_for_all_frames_of_a_clip(tmp_path):
    # A clip whose frames are all alike stays one.
    folder = tmp_path / "class" / "still"
    folder.mkdir(parents=True)
    write_clip(tmp_path / "one.mp4")
    with open_clip(str(tmp_path / "one.mp4")) as clip:
        picture = clip.frame(3)
    import cv2

    for i in range(6):
        cv2.imwrite(str(folder / f"{i}.png"), picture)
    clips = ClipDataset(read_listing("folders", tmp_path), SPEC, AugmentConfig(crop=(0.2, 0.6), colour=0.4, flip=True))
    frames = clips[(1, 0)].frames
    assert frames.shape == (4, 32, 32, 3) and frames.dtype == torch.uint8
    assert all(torch.equal(frames[0], frame) for frame in frames)
    assert not torch.equal(frames[0], ClipDataset(read_listing("folders", tmp_path), SPEC)[(0, 0)].frames[0])


def test_single_frames_are_frames_of_the_clip(listing):
    whole = ClipDataset(listing, SPEC, PLAIN)[(0, 1)].frames
    single = ClipDataset(listing, SPEC, PLAIN).single_frames()
    drawn = [single[(epoch, 1)].frames for epoch in range(12)]
    assert all(frames.shape == (1, 32, 32, 3) for frames in drawn)
    found = {next(t for t in range(4) if torch.equal(frames[0], whole[t])) for frames in drawn}
    assert len(found) > 1


def test_kept_frames_are_the_decoded_ones(listing):
    augment = AugmentConfig(jitter=True, colour=0.2)
    fresh, kept = ClipDataset(listing, SPEC, augment), ClipDataset(listing, SPEC, augment, cache=FrameCache())
    for epoch in range(4):
        for clips in ((fresh, kept), (fresh.single_frames(), kept.single_frames())):
            assert torch.equal(*(c[(epoch, 2)].frames for c in clips))


def test_kept_frames_do_not_change_random_crops(listing):
    augment = AugmentConfig(crop=(0.3, 1.0), colour=0.2, flip=True)
    fresh, kept = ClipDataset(listing, SPEC, augment), ClipDataset(listing, SPEC, augment, cache=FrameCache())
    views = [(fresh[(epoch, 3)].frames, kept[(epoch, 3)].frames) for epoch in range(4)]
    assert all(torch.equal(*pair) for pair in views) and len(kept.cache) == 1
    assert not torch.equal(views[0][0], views[1][0])


def test_what_does_not_fit_is_decoded_anew(listing):
    spec = SPEC._replace(length=2, order=[0, 1])
    whole = ClipDataset(listing, spec, PLAIN, cache=FrameCache())
    assert whole.most_bytes() == len(listing.entries) * 2 * 32 * 32 * 3
    tight = ClipDataset(listing, spec, PLAIN, cache=FrameCache(2 * 32 * 32 * 3))
    for index in (1, 0, 1):
        assert torch.equal(tight[(0, index)].frames, whole[(0, index)].frames)
    assert len(tight.cache) == 1 and tight.cache.bytes == 2 * 32 * 32 * 3 and len(whole.cache) == 2


def test_a_long_clip_keeps_three_frames_of_each_part(listing, tmp_path):
    write_clip(tmp_path / "long.mp4", frames=40, size=(192, 48))
    long = replace(listing, entries=[Entry(tmp_path / "long.mp4", (0,))])
    clips = ClipDataset(long, SPEC, AugmentConfig(jitter=True), cache=FrameCache())
    kept = clips.keep(0)
    assert sorted(kept.pictures) == [1, 5, 8, 11, 15, 18, 21, 25, 28, 31, 35, 38]
    for epoch in range(6):  # each of its own part
        for t, frame in zip(SPEC.order, clips[(epoch, 0)].frames):
            assert any(
                torch.equal(frame, torch.from_numpy(kept.pictures[i])) for i in sorted(kept.pictures)[3 * t :][:3]
            )


def test_in_training_the_next_clip_stands_in_for_one_that_cannot_be_read(damaged):
    clips = ClipDataset(damaged, SPEC, PLAIN)
    stand_in = clips[(0, 0)]
    assert int(stand_in.unreadable) == 0 and torch.equal(stand_in.frames, clips[(0, 1)].frames)
    assert torch.equal(stand_in.targets, clips[(0, 1)].targets)
    assert int(clips[(0, 1)].unreadable) == READABLE
    assert "bad.mp4" in str(clips.problem(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_in_evaluation_a_clip_that_cannot_be_read_has_no_target(damaged, workers):
    (batch,) = evaluation_batches(ClipDataset(damaged, SPEC), 16, workers)
    assert batch.entry.tolist() == list(range(10)) and batch.unreadable.tolist() == [0] + [READABLE] * 9
    assert batch.targets.sum(1).tolist() == [0] + [1] * 9 and not batch.frames[0].any()


def test_a_set_without_a_readable_clip_does_not_hang():
    listing = Listing([Entry(Path("none.mp4"), (0,)), Entry(Path("nothing.mp4"), (1,))], ["a", "b"], False, [])
    batch = ClipDataset(listing, SPEC, PLAIN)[(0, 1)]
    assert int(batch.unreadable) == 1 and not batch.targets.any()


def test_processes_together_take_what_one_takes():
    alone = ShuffledSampler(23, 8, 2, seed=5, rank=0, world=1)
    pair = [ShuffledSampler(23, 8, 2, seed=5, rank=rank, world=2) for rank in (0, 1)]
    for order in (alone, *pair):
        order.seek(3, 0)
    parts = [sorted(a + b) for a, b in zip(*pair)]
    assert parts == [sorted(part) for part in alone] and len(parts) == len(alone) == 4
    assert all(len(part) == 2 for order in pair for part in order)
    assert len({index for part in alone for _, index in part}) == 16  # two steps of eight, nothing twice


def test_an_epoch_can_be_taken_up_at_any_step():
    order = ShuffledSampler(40, 8, 2, seed=0, rank=0, world=1)
    order.seek(1, 0)
    whole = list(order)
    order.seek(1, 3)
    assert list(order) == whole[6:] and len(order) == 4
    order.seek(2, 0)
    assert [i for part in order for _, i in part] != [i for part in whole for _, i in part]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_workers(listing, workers):
    clips = ClipDataset(listing, SPEC, AugmentConfig(jitter=True, colour=0.3))
    order = ShuffledSampler(9, 4, 1, seed=0, rank=0, world=1)
    batches = training_batches(clips, order, workers)
    for epoch in range(2):
        order.seek(epoch, 0)
        for batch, keys in zip(batches, list(order), strict=True):
            assert batch.entry.tolist() == [index for _, index in keys]
            assert torch.equal(batch.frames, torch.stack([clips[key].frames for key in keys]))


def test_what_goes_wrong_in_the_thread_that_makes_batches_reaches_the_caller(listing, monkeypatch):
    def damaged(self, key):
        raise OSError("gone")

    monkeypatch.setattr(ClipDataset, "__getitem__", damaged)
    order = ShuffledSampler(9, 4, 1, seed=0, rank=0, world=1)
    with pytest.raises(OSError, match="gone"):
        list(training_batches(ClipDataset(listing, SPEC, PLAIN), order, 0))


def test_an_epoch_may_have_the_examples_of_another():
    order = ShuffledSampler(9, 4, 1, seed=0, rank=0, world=1)
    order.seek(5, 0, variant=2)
    again = [key for part in order for key in part]
    order.seek(5, 0)
    assert again == [(2, index) for part in order for _, index in part]
