"""Whether exported files reach the checkpoint's metrics: on made-up and real tests."""

import json
from pathlib import Path

import pytest
from helpers.commands import REPO, assert_one_line_error
from helpers.tables import read_rows
from helpers.tiny_models import load, write_checkpoint, write_config
from helpers.tool_server import fork_tool

from dev import parity, parity_files
from dev.model_zoo.coco_map import measure_map
from mmrapidnet.deploy import formats
from mmrapidnet.utils import env
from mmrapidnet.utils.errors import UserError

SEGMENTER = str(REPO / 'configs' / 'semfpn_rapidnet_ti_shapes.py')
DETECTOR = str(REPO / 'configs' / 'maskrcnn_rapidnet_ti_shapes.py')
FEW = ('onnx', 'openvino', 'coreml', 'ncnn')


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'weights.pth'
    path.write_text('weights')
    return str(path)


@pytest.fixture
def tools(monkeypatch):
    """Records the commands instead of running them; every file gives its metrics."""
    commands, metrics = [], {'weights': 60.0}

    def run(tool, arguments, log):
        words = [str(part) for part in arguments]
        commands.append((tool.name, words))
        if tool.name == 'export.py':
            name = Path(words[words.index('--out') + 1]).name.partition('.')[0]
            plain = isinstance(metrics.get(name), str) and '--max-drop' not in words
            if plain:
                raise UserError(metrics[name])
            return
        found = metrics.get(Path(words[1]).name.partition('.')[0], metrics['weights'])
        found = 59.9 if isinstance(found, str) else found
        work_dir = Path(words[words.index('--work-dir') + 1])
        work_dir.mkdir(exist_ok=True)
        record = {'metrics': {'mIoU': found, 'aAcc': 1.0}}
        (work_dir / 'metrics.json').write_text(json.dumps(record))

    monkeypatch.setattr(parity_files, 'run_tool', run)
    monkeypatch.setattr(formats, 'has_bf16', lambda: True)
    return commands, metrics


def list_measured(cells):
    return [(cell.runtime, cell.precision) for cell in cells if not cell.reason]


def test_every_file_that_runs_here(tools, checkpoint, tmp_path):
    commands, metrics = tools
    metrics['openvino_int8'] = 59.52
    page, out = tmp_path / 'PAGE.md', tmp_path / 'out'
    page.write_text(f'before\n{parity._BEGIN}\n{parity._END}\nafter\n')
    cells = parity.check_parity(
        [(SEGMENTER, checkpoint)], out, FEW, page=page, command='the command'
    )
    assert list_measured(cells) == [
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
    text, name = page.read_text(), Path(SEGMENTER).stem
    row = (name, 'mIoU', '60.00', '60.00', '60.00', '60.00', '59.52')
    assert row in read_rows(text)
    assert (name, 'mIoU', '60.00', *['not run here'] * 2) in read_rows(text)
    assert '`the command`' in text and 'before' in text and 'after' in text
    record = json.loads((out / 'parity.json').read_text())
    assert record['cells'][6]['metrics'] == {'mIoU': 59.52}
    assert record['versions'] == env.list_versions()
    assert not [path for path in out.rglob('*') if path.suffix == '.xml']


def test_what_was_measured_is_not_measured_again(tools, checkpoint, tmp_path):
    commands, metrics = tools
    arguments = ([(SEGMENTER, checkpoint)], tmp_path / 'out', ['onnx'])
    first = parity.check_parity(*arguments)
    commands.clear()
    assert parity.check_parity(*arguments) == first and not commands
    (tmp_path / 'out' / Path(SEGMENTER).stem / 'onnx_fp32.json').unlink()
    parity.check_parity(*arguments)
    assert [name for name, _ in commands] == ['export.py', 'test.py']
    Path(checkpoint).write_text('others')
    metrics['weights'] = 61.0
    assert parity.check_parity(*arguments)[0].metrics == {'mIoU': 61.0}


def test_a_file_beyond_its_bound(tools, checkpoint, tmp_path):
    _, metrics = tools
    metrics['onnx_fp32'] = 60.11
    metrics['openvino_fp16'] = 59.4
    models = [(SEGMENTER, checkpoint)]
    with pytest.raises(UserError) as error:
        parity.check_parity(models, tmp_path / 'out', ['onnx', 'openvino'])
    # The worst is that which is furthest beyond its own bound.
    assert str(error.value) == (
        'semfpn_rapidnet_ti_shapes in openvino fp16 is off by 0.60 points, where 0.5 '
        'are allowed (2 of 7 figures are beyond their bound)'
    )
    rows = read_rows((tmp_path / 'out' / 'parity.md').read_text())
    assert (Path(SEGMENTER).stem, 'mIoU', '60.00', '60.11 (off)') in rows


def test_files_that_there_are_none_of(tools, checkpoint, tmp_path, capsys):
    """int8 that differs too much is tried with layers in float."""
    commands, metrics = tools
    metrics['openvino_int8'] = 'model.xml was not written: it differs'
    metrics['ncnn_fp16'] = 'ncnn has no layer for Einsum'
    models = [(SEGMENTER, checkpoint)]
    cells = parity.check_parity(models, tmp_path / 'out', ['openvino', 'ncnn'])
    assert [cell.text for cell in cells[-3:]] == [
        '59.90*',
        '60.00',
        'cannot be exported',
    ]
    assert 'ncnn fp16: ncnn has no layer for Einsum' in capsys.readouterr().out
    controlled = [words for _, words in commands if '--max-drop' in words]
    assert [words[words.index('--precision') + 1] for words in controlled] == ['int8']


def test_a_detector_keeps_its_digits(tools, checkpoint, tmp_path, monkeypatch):
    commands, _ = tools
    found = {'bbox': 0.53417, 'segm': 0.48712}

    def measure(annotations, detections, kind, counted):
        assert counted == 100
        assert annotations == 'data/shapes/coco/annotations/instances_val2017.json'
        assert detections.name == f'detections.{kind}.json'
        return found[kind]

    monkeypatch.setattr(parity_files, 'measure_map', measure)
    cells = parity.check_parity([(DETECTOR, checkpoint)], tmp_path / 'out', FEW)
    assert list_measured(cells)[2:] == [
        ('onnx', 'fp32'),
        *(('openvino', precision) for precision in ('fp32', 'fp16', 'bf16', 'int8')),
    ]
    assert cells[0].metrics == pytest.approx({'box AP': 53.417, 'mask AP': 48.712})
    assert commands[0][1][-1].startswith('test_evaluator.outfile_prefix=')


def test_a_detector_of_boxes_alone(tools, checkpoint, tmp_path, monkeypatch):
    config = tmp_path / 'boxes_coco.py'
    config.write_text(f"_base_ = '{DETECTOR}'\ntest_evaluator = dict(metric='bbox')\n")
    monkeypatch.setattr(parity_files, 'measure_map', lambda *_: 0.5)
    models = [(str(config), checkpoint)]
    cells = parity.check_parity(models, tmp_path / 'out', ['onnx'])
    measured = [cell.metrics for cell in cells if not cell.reason]
    assert measured == [{'box AP': 50.0}] * 3
    config.write_text(f"_base_ = '{DETECTOR}'\ntest_evaluator = dict(metric=())\n")
    with pytest.raises(UserError, match='is tested by none of bbox and segm of Coco'):
        parity.check_parity(models, tmp_path / 'out', ['onnx'])


def test_a_detector_counts_what_its_metric_counts(
    tools, checkpoint, tmp_path, monkeypatch
):
    config = tmp_path / 'crowded_coco.py'
    nums = 'test_evaluator = dict(proposal_nums=(1, 10, 500))'
    config.write_text(f"_base_ = '{DETECTOR}'\n{nums}\n")
    monkeypatch.setattr(parity_files, 'measure_map', lambda *args: args[3] / 1000)
    cells = parity.check_parity([(str(config), checkpoint)], tmp_path / 'out', [])
    assert cells[0].metrics == {'box AP': 50.0, 'mask AP': 50.0}


def test_what_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(formats, 'has_bf16', lambda: False)

    def load_format(name):
        if name == 'coreml':
            raise UserError('coremltools is missing')
        return formats.load_format(name)

    monkeypatch.setattr(parity_files, 'load_format', load_format)
    assert list(parity_files.list_files('detector', FEW)) == [
        ('onnx', 'fp32', ''),
        ('openvino', 'fp32', ''),
        ('openvino', 'fp16', ''),
        ('openvino', 'bf16', 'no bf16 here'),
        ('openvino', 'int8', ''),
        ('coreml', '', 'not installed here'),
        ('ncnn', 'fp32', 'holds no detectors'),
        ('ncnn', 'fp16', 'holds no detectors'),
    ]
    assert 'left out: coremltools is missing' in capsys.readouterr().out
    decoders = list(parity_files.list_files('decoder', ['openvino']))
    assert decoders[-1] == ('openvino', 'int8', 'no int8 decoders')


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
    # Of the best detection alone the recall ends at 0.5.
    alone = measure_map(annotations, detections, 'bbox', 1)
    assert alone == pytest.approx(51 / 101)
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
    fp32, fused, onnx = (cell['metrics']['mIoU'] for cell in record['cells'])
    assert 0 < fp32 < 100
    assert abs(fused - fp32) <= 0.1 and abs(onnx - fp32) <= 0.1
    rows = read_rows((out / 'parity.md').read_text())
    assert rows[-1] == (segmenter[0].stem, 'mIoU', f'{fp32:.2f}', f'{onnx:.2f}')


def test_bad_input(segmenter, tmp_path):
    config, weights = segmenter
    done = fork_tool('dev/parity.py', SEGMENTER)
    assert_one_line_error(done, 'shapes.py: give a checkpoint after each config')
    page = tmp_path / 'PAGE.md'
    page.write_text('nothing')
    done = fork_tool('dev/parity.py', SEGMENTER, 'no.pth', '--into', page)
    assert_one_line_error(done, 'PAGE.md has no place for the tables', parity._BEGIN)
    done = fork_tool('dev/parity.py', config, 'no.pth', '--out', tmp_path)
    assert_one_line_error(done, 'there is no checkpoint no.pth')
    weights.write_text('none')
    done = fork_tool('dev/parity.py', config, weights, '--out', tmp_path)
    assert_one_line_error(done, f'test.py {config.name} failed', 'weights.pth')
