"""The learned inspector: what its scores may depend on, and that it learns."""

import numpy as np
import pytest
import torch
from tests.unit.observers.test_hotelling import volumes

from tubepet.errors import InputError
from tubepet.observers import learned


def test_scores_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(1)
    net, parts = learned.Inspector(2).eval(), volumes(5)
    together = learned.scores(net, parts)
    alone = np.concatenate([learned.scores(net, parts[i : i + 1]) for i in range(5)])
    # 1e-5: float32 sums in another order
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    assert len(np.unique(together)) == 5


def test_it_sees_what_it_is_given_and_no_more() -> None:
    torch.manual_seed(1)
    parts = volumes(3)
    other, changed = parts.copy(), parts.copy()
    other[:, 1] = np.roll(other[:, 1], 2, axis=2)
    changed[:, 2] = 1 - changed[:, 2]
    for num_channels in (1, 2):
        net = learned.Inspector(num_channels).eval()
        found = learned.scores(net, parts)
        np.testing.assert_array_equal(learned.scores(net, changed), found)
        assert (learned.scores(net, other) == found).all() == (num_channels == 1)


def test_cells_are_where_their_voxels_are() -> None:
    """With the weights of a mean, a cell's logit rises where its eight voxels are bright."""
    net = learned.Inspector(1)
    net.layers = torch.nn.Conv3d(8, 1, 1, bias=False)
    torch.nn.init.constant_(net.layers.weight, 1 / 8)
    volume = torch.zeros(1, 1, 6, 8, 10)
    volume[0, 0, 2:4, 6:8, 0:2] = 1
    cells = net(volume)
    assert cells.shape == (1, 1, 3, 4, 5) and cells[0, 0, 1, 3, 0] == 1 and cells.sum() == 1


def test_it_learns_the_same_holes_twice() -> None:
    parts = volumes(24)
    net = learned.train(parts, learned.Arm(), 160, 7)
    found = learned.scores(net, volumes(12))
    assert np.median(found[1::2]) > np.median(found[0::2]) + 1
    again = learned.train(parts, learned.Arm(), 160, 7)
    np.testing.assert_array_equal(learned.scores(again, parts), learned.scores(net, parts))


def test_few_parts_are_the_first_ones() -> None:
    parts = volumes(12)
    few = learned.train(parts, learned.Arm(num_parts=4), 2, 7)
    first = learned.train(parts[:4], learned.Arm(), 2, 7)
    np.testing.assert_array_equal(learned.scores(few, parts), learned.scores(first, parts))


def test_parts_that_teach_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"got 0 training parts with a defect of 3, expected both"):
        learned.train(volumes(6)[::2], learned.Arm(), 1, 7)
    with pytest.raises(InputError, match=r"few_parts: got 9, expected at most .*, 4"):
        learned.train(volumes(4), learned.Arm(num_parts=9), 1, 7)
