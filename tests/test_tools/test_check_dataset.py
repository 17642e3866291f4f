"""Bad data on the command lines: all found, most trained with, the rest named."""

import json
import re

import pytest
from helpers import tiny_models
from helpers.bad_data import FILE_KINDS, SQUARE, CocoSplit
from helpers.commands import assert_one_line_error, run_tool
from helpers.tool_server import fork_tool

from mmrapidnet.datasets.check.report import report
from mmrapidnet.utils.errors import UserError

SHORT = (
    'train_cfg.max_iters=3',
    'train_cfg.val_interval=3',
    'train_dataloader.batch_size=2',
    'train_dataloader.sampler.shuffle=False',
    'train_dataloader.num_workers=1',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.logger.interval=1',
)
# What a config's own libraries take in their stride.
FILES = [name for name, (_, stops) in FILE_KINDS.items() if not stops]
CHANGES = {
    'crowd': {'iscrowd': 1},
    'unknown category id': {'category_id': 77},
    'annotation of no image': {'image_id': 9999},
    'box without an extent': {'bbox': [10, 10, 0, 5]},
    'box outside of its image': {'bbox': [200, 9, 20, 20]},
}


@pytest.fixture
def config(tmp_path):
    return tiny_models.write_config('detector', tmp_path)


def plant(root, files, changes=CHANGES):
    """Both splits with good images, some of FILES and changed annotations."""
    for name in ('train', 'val'):
        split = CocoSplit(root, name)
        for file in files:
            split.file(file)
        for number, change in enumerate(changes.values()):
            image = split.image(f'odd_{number}')
            split.annotation(image)
            split.annotation(image, **change)
        split.write()


def train(config, root, *arguments):
    where = ('--data-root', root, '--work-dir', root / 'run', *arguments)
    return fork_tool('train.py', config, *where, '--cfg-options', *SHORT)


def test_a_summary_and_all_in_a_file(config, tmp_path):
    plant(tmp_path, FILE_KINDS)
    out = tmp_path / 'found' / 'problems.jsonl'
    options = ('--data-root', tmp_path, '--splits', 'val', '--out', out, '--workers', 2)
    done = fork_tool('check_dataset.py', config, *options)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    # A thin image is also a wide one.
    expected = [kind for kind, _ in FILE_KINDS.values()] + [FILE_KINDS['wide'][0]]
    expected += ['class without any object']
    assert sorted(p['kind'] for p in found) == sorted([*expected, *CHANGES])
    assert all(p['file'].startswith(str(tmp_path)) and p['detail'] for p in found)
    stopping = sum(problem['stops'] for problem in found)
    assert stopping == 5
    assert_one_line_error(done, '5 of these problems stop training or testing')
    for kind in (*expected, *CHANGES):
        fate = 'goes on' if (kind, False) in [*FILE_KINDS.values()] else r'\w+( on)?'
        assert re.search(rf'{kind} +│ +[12] +│ {fate}', done.stdout), kind
    missing = tmp_path / 'val2017' / 'missing.jpg'
    record = f'{tmp_path}/annotations/instances_val2017.json: image 4'
    assert f'  {missing}: {record}: missing image: there is no' in done.stdout


def test_where_all_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    for out in (tmp_path, tmp_path / 'file' / 'problems.jsonl'):
        with pytest.raises(UserError, match=f'^{out} cannot be written: '):
            report([], str(out))


def test_a_corrected_copy(config, tmp_path):
    split = CocoSplit(tmp_path, 'val')
    image = split.image('a')
    split.annotation(image, id=0, segmentation=list(SQUARE), area='400')
    split.annotation(image, id=0, bbox=[0, 0, 2, 2], segmentation=[[1, 1]])
    path = split.write()
    original, out = path.read_bytes(), tmp_path / 'new' / 'val.json'

    options = ('--data-root', tmp_path, '--fix', out, '--splits', 'val')
    done = fork_tool('check_dataset.py', config, *options)
    # What cannot be corrected stays, and is said of the copy.
    assert_one_line_error(done, '1 of these problems stop training or testing')
    assert f'4 corrections written to {out}' in done.stdout
    for line in (
        "number instead of text (1):\n  annotations[0]: area '400' -> 400\n",
        'new annotation id (2):\n  annotation 0: 0 -> 1\n  annotation 0: 0 -> 2\n',
        'mask as a list of polygons (1):\n  annotations[0]: a list of 8 -> 1 polygons',
        f'{out}: annotation 2 of a.jpg: polygon of fewer than 3 points: 2 numbers',
    ):
        assert line in done.stdout, line
    copy = json.loads(out.read_text())
    first, second = copy['annotations']
    assert first == {**split.content['annotations'][0], 'id': 1, 'area': 400,
                     'segmentation': [SQUARE]}  # fmt: skip
    assert second == {**split.content['annotations'][1], 'id': 2}
    assert copy['images'] == split.content['images']
    assert copy['categories'] == split.content['categories']
    assert path.read_bytes() == original


def test_a_good_data_set(shapes_root):
    config = 'configs/semfpn_rapidnet_ti_shapes.py'
    done = run_tool('check_dataset.py', config, '--data-root', shapes_root / 'ade')
    assert done.returncode == 0, done.stderr
    assert 'nothing is wrong with the data sets' in done.stdout
    done = fork_tool('check_dataset.py', config, '--data-root', 'nowhere')
    assert_one_line_error(done, '2 of these problems stop training')
    assert 'unusable data set: no data set at nowhere' in done.stdout


def test_training_with_what_is_handled(config, tmp_path):
    """To the end, validation included; what was odd is in the log."""
    plant(tmp_path, FILES)
    done = train(config, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'run' / 'iter_3.pth').exists()
    for kind in set(CHANGES) - {'crowd'}:
        assert re.search(rf'WARNING.*annotation \d+.*: {kind}: ', done.stdout), kind


def test_training_stops_at_an_image(config, tmp_path):
    """In the data worker, after a good batch; the checkpoint stays."""
    # Every second image is read before.
    names = ['grey', 'cmyk', 'sixteen_bits', 'truncated', 'exif', 'one_wide', 'wide']
    plant(tmp_path, names, {**CHANGES, **{f'{n} again': c for n, c in CHANGES.items()}})
    path = tmp_path / 'train2017' / 'truncated.jpg'
    record = f'{path}, image 4 of {tmp_path}/annotations/instances_train2017.json'
    done = train(config, tmp_path)
    assert_one_line_error(done, f'error: {record}: LoadImageFromFile fails with')
    assert (tmp_path / 'run' / 'iter_1.pth').exists()

    done = train(config, tmp_path, '--check-data')
    assert_one_line_error(done, f'error: {path}: ', 'image 4: image cannot be decoded')
    assert 'Iter(train)' not in done.stdout


def test_testing_stops_before_it_starts(config, tmp_path):
    plant(tmp_path, ['zero_bytes'])
    done = fork_tool('test.py', config, 'any.pth', '--data-root', tmp_path)
    assert_one_line_error(
        done, f'error: {tmp_path}/val2017/zero_bytes.jpg: ', 'the file has zero bytes'
    )
