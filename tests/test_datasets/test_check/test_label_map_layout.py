"""Which files are an image and its label map: suffixes, folders, lists, own steps."""

import numpy as np
import pytest
from helpers.bad_data import JPEG, encode, picture
from helpers.label_maps import mask, png, segment

from mmrapidnet.datasets.check import precheck
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_problems
from mmrapidnet.utils.errors import UserError


def test_what_suffixes_leave_out(tmp_path, monkeypatch):
    maps = {name: mask(1) for name in 'abcdefgh'}
    cfg = segment(tmp_path, maps)
    images, labels = (tmp_path / p / 'training' for p in ('images', 'annotations'))
    for name in 'abcde':
        (images / f'{name}.jpg').rename(images / f'{name}.JPG')
    (labels / 'more').mkdir()
    (labels / 'more' / 'x.png').write_bytes(png(mask(1)))
    (labels / 'notes.txt').write_text('')
    (labels / 'h.PNG').write_bytes(png(mask(1)))
    found = {
        (p.kind, p.file.removeprefix(f'{tmp_path}/'), p.stops)
        for p in find_problems(cfg, ['train_dataloader'])
    }
    kind = 'label map without an image'
    assert found == {
        *(('image left out', f'images/training/{n}.JPG', False) for n in 'abcde'),
        *((kind, f'annotations/training/{n}.png', False) for n in 'abcde'),
        (kind, 'annotations/training/more/x.png', False),
        ('label map left out', 'annotations/training/h.PNG', False),
    }
    said = []
    monkeypatch.setattr(precheck, 'print_log', lambda line, **_: said.append(line))
    check_datasets(cfg, ['train_dataloader'])
    assert f'{images}/a.JPG: image left out: left out, as it does not' in said[0]
    assert 'img_suffix) (and 4 more alike); ' in said[0]
    assert [line.split(': ')[1] for line in said] == [
        'image left out',
        'label map left out',
        'label map without an image',
    ]
    for name in 'fgh':
        (images / f'{name}.jpg').rename(images / f'{name}.png')
    message = (
        r"no image left: no file ends in '.jpg' \(img_suffix\), as \S+a.JPG does n"
    )
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['train_dataloader'])


def test_images_and_label_maps_in_one_folder(tmp_path):
    for name in 'ab':
        (tmp_path / f'{name}.jpg').write_bytes(JPEG)
        (tmp_path / f'{name}_mask.png').write_bytes(png(mask(1)))
    (tmp_path / 'c.png').write_bytes(encode(picture(), 'PNG'))
    cfg = segment(tmp_path / 'unused', {})
    cfg.train_dataloader.dataset.update(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='', seg_map_path=''),
        seg_map_suffix='_mask.png',
    )
    found = find_problems(cfg, ['train_dataloader'])
    assert [(p.kind, p.file) for p in found] == [
        ('image left out', str(tmp_path / 'c.png'))
    ]


def test_a_list_says_which_images_are_meant(tmp_path):
    cfg = segment(tmp_path, {'a': mask(1), 'b': mask(1)})
    (tmp_path / 'train.txt').write_text('a\n')
    cfg.train_dataloader.dataset.ann_file = 'train.txt'
    assert find_problems(cfg, ['train_dataloader']) == []


@pytest.mark.parametrize('kind', ['images', 'classes'])
def test_a_list_with_a_byte_order_mark(kind, tmp_path):
    cfg = segment(tmp_path, {'a': mask(1)})
    path = tmp_path / 'list.txt'
    dataset = cfg.train_dataloader.dataset
    if kind == 'images':
        dataset.ann_file = path.name
    else:
        dataset.metainfo = dict(classes=str(path))
    content = 'a' if kind == 'images' else 'background\ncrack'
    path.write_text(content, encoding='utf-8-sig')
    with pytest.raises(UserError, match=f'^{path} begins with a byte-order mark'):
        check_datasets(cfg, ['train_dataloader'])
    path.write_text(content)
    check_datasets(cfg, ['train_dataloader'])


def test_files_that_a_step_of_its_own_reads(tmp_path):
    """What they hold is between the two."""
    cfg = segment(tmp_path, {'a': np.stack([mask(1)] * 3, -1)})
    (tmp_path / 'images' / 'training' / 'a.jpg').write_bytes(b'of its own')
    pipeline = cfg.train_dataloader.dataset.pipeline
    with pytest.raises(UserError, match=r'a.jpg: image cannot be decoded'):
        check_datasets(cfg, ['train_dataloader'])
    pipeline[0].type = 'OwnLoadImageFromFile'
    with pytest.raises(UserError, match=r'a.png: .*: label map of several channels'):
        check_datasets(cfg, ['train_dataloader'])
    pipeline[1].type = 'OwnLoadAnnotations'
    check_datasets(cfg, ['train_dataloader'])
