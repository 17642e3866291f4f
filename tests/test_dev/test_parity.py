"""Whether exported files reach the checkpoint's metrics: on made-up and real tests."""

import json

import pytest
from helpers.commands import REPO, assert_one_line_error
from helpers.tables import read_rows
from helpers.tiny_models import load, write_checkpoint, write_config
from helpers.tool_server import fork_tool

from dev import parity
from dev.model_zoo.coco_map import measure_map
from mmrapidnet.utils import env
from mmrapidnet.utils.errors import UserError

SEGMENTER = str(REPO / 'configs' / 'semfpn_rapidnet_ti_shapes.py')
DETECTOR = str(REPO / 'configs' / 'maskrcnn_rapidnet_ti_shapes.py')


@pytest.fixture
def tools(monkeypatch):
    """Records the commands instead of running them; every test gives its metrics."""
    commands, metrics = [], {'default': {'mIoU': 60.0}}

    def run(tool, arguments, log):
        commands.append((tool.name, [str(part) for part in arguments]))
        if tool.name == 'test.py':
            work_dir = arguments[arguments.index('--work-dir') + 1]
            found = metrics.get(work_dir.name, metrics['default'])
            work_dir.mkdir()
            (work_dir / 'metrics.json').write_text(json.dumps({'metrics': found}))

    monkeypatch.setattr(parity, 'run_tool', run)
    monkeypatch.setattr(parity, 'has_bf16', lambda: True)
    return commands, metrics


def test_every_file_that_runs_here(tools, tmp_path):
    commands, metrics = tools
    metrics['openvino_int8'] = {'mIoU': 59.52, 'aAcc': 1.0}
    page = tmp_path / 'PAGE.md'
    page.write_text(f'before\n{parity._BEGIN}\n{parity._END}\nafter\n')
    rows = parity.check_parity(
        REPO, [(SEGMENTER, 'w.pth')], tmp_path, page=page, command='the command'
    )
    assert [(row.runtime, row.precision) for row in rows] == [
        ('PyTorch', 'fp32'),
        ('PyTorch, fused', 'fp32'),
        ('onnx', 'fp32'),
        ('openvino', 'fp32'),
        ('openvino', 'fp16'),
        ('openvino', 'bf16'),
        ('openvino', 'int8'),
        ('ncnn', 'fp32'),
        ('ncnn', 'fp16'),
    ]
    assert [name for name, _ in commands].count('export.py') == 7
    assert commands[1][1][-1] == '--fuse'
    text = page.read_text()
    assert ('openvino', 'int8', '59.52', '0.48', '0.5') in read_rows(text)
    assert '`the command`' in text and 'before' in text and 'after' in text
    assert text.strip() != (tmp_path / 'parity.md').read_text().strip()
    record = json.loads((tmp_path / 'parity.json').read_text())
    assert record['rows'][6]['metrics'] == {'mIoU': 59.52}
    assert record['versions'] == env.list_versions()


def test_a_file_beyond_its_bound(tools, tmp_path):
    _, metrics = tools
    metrics['onnx_fp32'] = {'mIoU': 60.11}
    metrics['openvino_int8'] = {'mIoU': 59.4}
    with pytest.raises(UserError) as error:
        parity.check_parity(REPO, [(SEGMENTER, 'w.pth')], tmp_path)
    assert str(error.value) == (
        'semfpn_rapidnet_ti_shapes in openvino int8 is off by 0.60 points, where 0.5 '
        'are allowed (2 of 9 rows are beyond their bound)'
    )
    rows = read_rows((tmp_path / 'parity.md').read_text())
    assert ('onnx', 'fp32', '60.11', '0.11', '0.1') in rows


def test_a_detector_keeps_its_digits(tools, tmp_path, monkeypatch):
    commands, _ = tools
    found = {'bbox': 0.53417, 'segm': 0.48712}

    def measure(annotations, detections, kind):
        assert annotations == 'data/shapes/coco/annotations/instances_val2017.json'
        assert detections.name == f'detections.{kind}.json'
        return found[kind]

    monkeypatch.setattr(parity, 'measure_map', measure)
    rows = parity.check_parity(REPO, [(DETECTOR, 'w.pth')], tmp_path)
    assert [row.runtime for row in rows[2:]] == ['onnx'] + ['openvino'] * 3
    assert rows[0].metrics == pytest.approx({'box AP': 53.417, 'mask AP': 48.712})
    assert commands[0][1][-1].startswith('test_evaluator.outfile_prefix=')


def test_a_detector_of_boxes_alone(tools, tmp_path, monkeypatch):
    config = tmp_path / 'boxes_coco.py'
    config.write_text(f"_base_ = '{DETECTOR}'\ntest_evaluator = dict(metric='bbox')\n")
    monkeypatch.setattr(parity, 'measure_map', lambda *_: 0.5)
    rows = parity.check_parity(REPO, [(str(config), 'w.pth')], tmp_path, ['onnx'])
    assert [row.metrics for row in rows] == [{'box AP': 50.0}] * 3
    config.write_text(f"_base_ = '{DETECTOR}'\ntest_evaluator = dict(metric=())\n")
    with pytest.raises(UserError, match='is tested by none of bbox and segm of Coco'):
        parity.check_parity(REPO, [(str(config), 'w.pth')], tmp_path, ['onnx'])


def test_what_is_left_out(tools, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parity, 'has_bf16', lambda: False)

    def load_format(name):
        if name == 'ncnn':
            raise UserError('ncnn is missing')
        return original(name)

    original = parity.load_format
    monkeypatch.setattr(parity, 'load_format', load_format)
    found = [(writer.NAME, p) for writer, p in parity.list_exports('classifier')]
    assert found == [('onnx', 'fp32')] + [
        ('openvino', precision) for precision in ('fp32', 'fp16', 'int8')
    ]
    assert 'left out: ncnn is missing' in capsys.readouterr().out


@pytest.mark.parametrize('first', [1, 0])
def test_map_by_hand(first, tmp_path):
    """One of two objects found: at every threshold half of the recall at precision 1.

    The second detection overlaps its object by 0.6: it counts up to 0.60, three of
    the ten thresholds.  An id of 0 is an id.
    """
    truth = dict(
        images=[dict(id=1, width=100, height=100)],
        categories=[dict(id=1, name='a')],
        annotations=[
            dict(id=first, image_id=1, category_id=1, bbox=[0, 0, 10, 10], area=100),
            dict(id=2, image_id=1, category_id=1, bbox=[50, 50, 10, 10], area=100),
        ],
    )
    for annotation in truth['annotations']:
        annotation['iscrowd'] = 0
    found = [
        dict(image_id=1, category_id=1, bbox=[0, 0, 10, 10], score=0.9),
        dict(image_id=1, category_id=1, bbox=[50, 50, 10, 6], score=0.8),
    ]
    annotations, detections = tmp_path / 'truth.json', tmp_path / 'found.json'
    annotations.write_text(json.dumps(truth))
    detections.write_text(json.dumps(found))
    # Of 101 recalls those up to 0.5 are reached by the first alone.
    expected = (3 * 1 + 7 * 51 / 101) / 10
    assert measure_map(annotations, detections, 'bbox') == pytest.approx(expected)
    detections.write_text('[]')
    assert measure_map(annotations, detections, 'bbox') == 0


def test_map_is_mmdets(shapes_root, tmp_path):
    """On a real test, whose metric mmdet rounds to three digits."""
    root = shapes_root / 'coco'
    cfg = load('detector', tmp_path, root)
    weights = write_checkpoint(cfg, tmp_path / 'weights.pth')
    prefix = tmp_path / 'detections'
    done = fork_tool(
        'test.py',
        write_config('detector', tmp_path),
        weights,
        '--data-root',
        root,
        '--work-dir',
        tmp_path / 'out',
        '--cfg-options',
        f'test_evaluator.outfile_prefix={prefix}',
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads((tmp_path / 'out' / 'metrics.json').read_text())['metrics']
    for kind in ('bbox', 'segm'):
        ours = measure_map(cfg.test_evaluator.ann_file, f'{prefix}.{kind}.json', kind)
        assert theirs[f'coco/{kind}_mAP'] == pytest.approx(ours, abs=5.01e-4)


@pytest.fixture
def segmenter(shapes_root, tmp_path):
    """A tiny segmenter whose data set is there, and weights for it."""
    cfg = load('segmenter', tmp_path, shapes_root / 'ade')
    weights = write_checkpoint(cfg, tmp_path / 'weights.pth')
    config = write_config('segmenter', tmp_path)
    text = config.read_text() + f"data_root = '{shapes_root / 'ade'}'\n"
    for split in ('val', 'test'):
        text += f'{split}_dataloader.update(dataset=dict(data_root=data_root))\n'
    config.write_text(text)
    return config, weights


@pytest.mark.slow
def test_command(segmenter, tmp_path):
    out = tmp_path / 'out'
    done = fork_tool('dev/parity.py', *segmenter, '--formats', 'onnx', '--out', out)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / 'parity.json').read_text())
    fp32, fused, onnx = (row['metrics']['mIoU'] for row in record['rows'])
    assert 0 < fp32 < 100
    assert abs(fused - fp32) <= 0.1 and abs(onnx - fp32) <= 0.1
    rows = read_rows((out / 'parity.md').read_text())
    assert rows[-1][:2] == ('onnx', 'fp32')


def test_bad_input(segmenter, tmp_path):
    config, _ = segmenter
    done = fork_tool('dev/parity.py', SEGMENTER)
    assert_one_line_error(done, 'shapes.py: give a checkpoint after each config')
    page = tmp_path / 'PAGE.md'
    page.write_text('nothing')
    done = fork_tool('dev/parity.py', SEGMENTER, 'no.pth', '--into', page)
    assert_one_line_error(done, 'PAGE.md has no place for the tables', parity._BEGIN)
    done = fork_tool('dev/parity.py', config, 'no.pth', '--out', tmp_path)
    assert_one_line_error(done, f'test.py {config.name} failed', 'no.pth')
