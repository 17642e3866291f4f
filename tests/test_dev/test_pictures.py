"""Curves and contact sheets."""

import json

import cv2
import numpy as np
import pytest

from dev.model_zoo.contact_sheet import draw_contact_sheet
from dev.model_zoo.curves import draw_curves, read_scalars
from mmrapidnet.utils.errors import UserError


@pytest.fixture
def work_dir(tmp_path):
    """A work dir with an older and a newer run."""
    for run, loss in (('20260101_000000', 9.0), ('20260102_000000', 2.0)):
        folder = tmp_path / run / 'vis_data'
        folder.mkdir(parents=True)
        records = [
            dict(lr=0.1, loss=loss, step=25, name='x'),
            dict(lr=0.1, loss=loss / 2, step=50),
            {'mIoU': 40.0, 'step': 50},
        ]
        lines = '\n'.join(json.dumps(record) for record in records)
        (folder / 'scalars.json').write_text(lines + '\n')
    return tmp_path


def test_scalars_of_the_newest_run(work_dir):
    assert read_scalars(work_dir) == {
        'lr': ([25, 50], [0.1, 0.1]),
        'loss': ([25, 50], [2.0, 1.0]),
        'mIoU': ([50], [40.0]),
    }


def test_curves(work_dir, tmp_path):
    out = tmp_path / 'curves.png'
    draw_curves(work_dir, ['mIoU'], out, 'title')
    picture = cv2.imread(str(out))
    assert picture.shape == (350, 900, 3)
    # The lines are drawn in matplotlib's first colour, in both halves.
    blue = (picture == (180, 119, 31)).all(axis=2)
    assert blue[:, :450].any() and blue[:, 450:].any()


def test_curves_without_a_run(work_dir, tmp_path):
    with pytest.raises(UserError, match='holds no run: .*scalars.json is missing'):
        draw_curves(tmp_path / 'nowhere', ['mIoU'], tmp_path / 'x.png', '')
    with pytest.raises(UserError, match='logged no mAP'):
        draw_curves(work_dir, ['mAP'], tmp_path / 'x.png', '')


def test_contact_sheet(tmp_path):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    for i, colour in enumerate(colours):
        cv2.imwrite(f'{tmp_path}/{i}.png', np.full((20, 40, 3), colour, np.uint8))
    out = tmp_path / 'sheet.png'
    draw_contact_sheet(sorted(tmp_path.glob('?.png')), out, columns=2, width=20)
    sheet = cv2.imread(str(out))
    # Two rows of 10 pixels and two columns of 20, with 3 white pixels around each.
    assert sheet.shape == (2 * 16, 2 * 26, 3)
    centres = [sheet[8, 13], sheet[8, 39], sheet[24, 13], sheet[24, 39]]
    assert [tuple(int(v) for v in c) for c in centres] == [*colours, (255, 255, 255)]
    assert (sheet[0] == 255).all()
