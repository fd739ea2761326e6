"""The drawn world is the same everywhere and always, at any resolution, and says what it drew."""

from __future__ import annotations

from collections import Counter

import numpy as np

from training.data import faces


def test_a_face_does_not_depend_on_its_neighbours() -> None:
    together = faces.render(3, range(10), 32)
    for i in (0, 4, 9):
        np.testing.assert_array_equal(faces.render(3, range(i, i + 1), 32)[0], together[i])


def test_faces_are_always_the_same() -> None:
    attributes, drawing = faces.face(0, 0)
    assert attributes.caption == (
        "a serious person with pale skin, short black hair, blue eyes and glasses in front of a grey background"
    )
    assert (drawing["x"], drawing["mouth_y"]) == (0.0486066246266675, 0.32849555967436694)
    counts = Counter(faces.face(7, index)[0].hair_style for index in range(1000))
    assert counts.keys() == set(faces.HAIR_STYLES)
    assert min(counts.values()) > 200
    assert 250 < sum(faces.face(7, index)[0].glasses for index in range(1000)) < 350


def test_chunks_do_not_show() -> None:
    count = faces._CHUNK + 3
    last = faces.render(0, range(count), 16)[-1]
    np.testing.assert_array_equal(last, faces.render(0, range(count - 1, count), 16)[0])


def test_seeds_and_indices_differ() -> None:
    a, b = faces.render(0, range(2), 32)
    assert (a != b).mean() > 0.2
    assert (faces.render(1, range(1), 32)[0] != a).mean() > 0.2


def test_resolutions_show_the_same_drawing() -> None:
    small, large = faces.render(0, range(8), 32), faces.render(0, range(8), 128)
    reduced = large.reshape(8, 32, 4, 32, 4, 3).astype(float).mean(axis=(2, 4))
    assert np.abs(reduced - small).mean() < 6  # levels of 255: only edges are sampled differently


def test_attributes_match_the_picture() -> None:
    """Skin and background colours are found where they belong; glasses darken the eyes' rims."""
    for i in range(40):
        attributes, drawing = faces.face(0, i)
        image = faces.render(0, range(i, i + 1), 64)[0].astype(float) / 255
        cheek = image[40, 27]  # left of the nose
        assert np.abs(cheek - drawing["skin"]).max() < 0.22, attributes
        corner = image[4, 2]
        assert np.abs(corner - drawing["background"] * 1.07).max() < 0.2, attributes


def test_captions_name_every_attribute() -> None:
    captions = {faces.face(0, i)[0].caption for i in range(200)}
    assert len(captions) > 150
    for i in range(50):
        attributes = faces.face(0, i)[0]
        for word in (attributes.skin, attributes.eyes, attributes.mouth, attributes.background):
            assert word in attributes.caption
        assert ("glasses" in attributes.caption) == attributes.glasses
        assert ("bald" in attributes.caption) == (attributes.hair_style == "bald")


def test_image_set_records_its_provenance() -> None:
    data = faces.image_set(16, 5)
    assert data.images.shape == (5, 16, 16, 3)
    assert data.name == f"drawn-faces-v{faces.VERSION}-16px-5"
    assert data.sha256 == faces.image_set(16, 5).sha256
    assert data.licence == "Apache-2.0"
