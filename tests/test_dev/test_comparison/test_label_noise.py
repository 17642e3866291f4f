"""Labels that are wrong on purpose: how many, which, and how mmpretrain reads them."""

import numpy as np
import pytest

from dev.comparison.label_noise import write_noisy_labels
from mmrapidnet.datasets.shapes import CLS_CLASSES


def noisy_labels(root, tmp_path, share, seed) -> list[tuple[str, int]]:
    path = tmp_path / f'{share}_{seed}.txt'
    write_noisy_labels(root / 'train', path, share, seed)
    lines = [line.rsplit(' ', 1) for line in path.read_text().splitlines()]
    return [(name, int(label)) for name, label in lines]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Empty images, 30 of each of twelve classes, in ImageNet's layout."""
    root = tmp_path_factory.mktemp('folders')
    for name in CLS_CLASSES:
        (root / 'train' / name).mkdir(parents=True)
        for index in range(30):
            (root / 'train' / name / f'{index:02d}.png').touch()
    return root


@pytest.mark.parametrize('share', [0.0, 0.3, 0.5, 1.0])
def test_the_stated_share_of_labels_is_wrong(folders, tmp_path, share):
    labels = noisy_labels(folders, tmp_path, share, seed=0)
    assert len(labels) == 360
    right = [CLS_CLASSES.index(name.split('/')[0]) for name, _ in labels]
    assert [name for name, _ in labels] == sorted(name for name, _ in labels)
    wrong = [label for (_, label), true in zip(labels, right) if label != true]
    assert len(wrong) == 360 * share
    assert set(wrong) <= set(range(12))
    if share == 1:
        # Each of the eleven others as likely: five standard deviations around 30.
        counts = np.bincount(wrong, minlength=12)
        assert counts.min() >= 4 and counts.max() <= 56


def test_noise_follows_from_its_seed(folders, tmp_path):
    first = noisy_labels(folders, tmp_path, 0.5, seed=0)
    assert first == noisy_labels(folders, tmp_path, 0.5, seed=0)
    assert first != noisy_labels(folders, tmp_path, 0.5, seed=1)


def test_mmpretrain_reads_the_noisy_labels(folders, tmp_path):
    from mmpretrain.datasets import ImageNet

    labels = noisy_labels(folders, tmp_path, 0.5, seed=3)
    dataset = ImageNet(
        data_root=str(folders),
        split='train',
        ann_file=str(tmp_path / '0.5_3.txt'),
        classes=list(CLS_CLASSES),
    )
    read = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [info['gt_label'] for info in read] == [label for _, label in labels]
    assert read[40]['img_path'] == str(folders / 'train' / labels[40][0])
