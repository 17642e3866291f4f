"""A run stops before it starts where other images are evaluated than tested."""

import json

import pytest
from helpers.bad_data import CocoSplit, load

from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_problems
from mmrapidnet.utils.errors import UserError

VAL = ['val_dataloader']


@pytest.fixture
def cfg(tmp_path):
    write(tmp_path, 'val', 'abc')
    return load('detector', tmp_path)


def write(root, split, names):
    coco = CocoSplit(root, split)
    for name in names:
        coco.annotation(coco.image(name))
    return coco.write()


def found(cfg, loaders=VAL):
    """All problems but those of the classes, of which the files have one."""
    problems = find_problems(cfg, loaders)
    return [p for p in problems if p.kind != 'class without any object']


def test_the_same_file(cfg, tmp_path):
    assert found(cfg) == []
    # By another name.
    file = tmp_path / 'annotations' / '..' / 'annotations' / 'instances_val2017.json'
    cfg.val_evaluator.ann_file = str(file)
    assert found(cfg) == []


@pytest.mark.parametrize(
    ('loop', 'names', 'fault'),
    [
        ('val', 'xyz', r'id 1 is x.jpg there, \S+/val2017/a.jpg here'),
        ('test', 'ab', r'id 3 \(\S+/val2017/c.jpg\) is not there'),
    ],
)
def test_another_file(loop, names, fault, cfg, tmp_path):
    other = write(tmp_path, 'other', names)
    cfg[f'{loop}_evaluator'].ann_file = str(other)
    message = (
        rf'^{other}: {loop}_evaluator: evaluator of other images: not the images of '
        rf'{tmp_path}/annotations/instances_val2017.json, which are tested: {fault}'
    )
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, [f'{loop}_dataloader'])
    (problem,) = found(cfg, [f'{loop}_dataloader'])
    assert (problem.kind, problem.stops) == ('evaluator of other images', True)
    # One of several.
    cfg[f'{loop}_evaluator'] = [dict(type='DumpResults'), cfg[f'{loop}_evaluator']]
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, [f'{loop}_dataloader'])


def test_a_file_that_knows_more(cfg, tmp_path):
    cfg.val_evaluator.ann_file = str(write(tmp_path, 'more', 'abcd'))
    check_datasets(cfg, VAL)
    (problem,) = found(cfg)
    assert (problem.kind, problem.stops) == ('evaluator with a file of its own', False)


def test_a_part_of_the_data_set(cfg, tmp_path):
    """With a file that has just that part."""
    cfg.val_evaluator.ann_file = str(write(tmp_path, 'part', 'ab'))
    with pytest.raises(UserError, match='id 3'):
        check_datasets(cfg, VAL)
    cfg.val_dataloader.dataset.indices = 2
    check_datasets(cfg, VAL)


def test_no_file(cfg, tmp_path):
    cfg.val_evaluator.ann_file = str(tmp_path / 'gone.json')
    with pytest.raises(
        UserError, match=r'gone.json: missing annotation file: of val_e'
    ):
        check_datasets(cfg, VAL)


@pytest.mark.parametrize(
    ('spoil', 'fault'),
    [
        (lambda content: [], 'unusable annotation file: .* it is a list'),
        (lambda content: content.pop('annotations') and content, 'no list of annotat'),
        (
            lambda content: content['annotations'][0].update(iscrowd=None) or content,
            r'annotations\[0\]: damaged record: iscrowd is None instead of 0 or 1',
        ),
        (
            lambda content: content['categories'][0].update(name='Disc') or content,
            "has 'disc', the file 'Disc': write them alike",
        ),
    ],
)
def test_a_damaged_file(spoil, fault, cfg, tmp_path):
    """Held to what that of a data set is held to."""
    path = write(tmp_path, 'other', 'abc')
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    cfg.val_evaluator.ann_file = str(path)
    with pytest.raises(UserError, match=f'^{path}: .*{fault}'):
        check_datasets(cfg, VAL)
    (problem,) = (p for p in found(cfg) if p.stops)
    assert problem.file == str(path)
