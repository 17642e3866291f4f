"""What a teacher's embeddings are worth: made-up runs."""

import json
import re
from pathlib import Path

import pytest
import torch
from helpers.commands import REPO
from helpers.made_up_runs import make_run
from helpers.tables import read_rows

from dev.comparison import runs
from dev.comparison.sam_distillation import compare_sam_distillation
from dev.comparison.training import Place
from mmrapidnet.utils.errors import UserError

BOX = {'sam_distilled': [0.80, 0.84], 'sam_alone': [0.70, 0.72]}
CLICK = {'sam_distilled': [0.70, 0.70], 'sam_alone': [0.70, 0.72]}
SECONDS = {'sam_distilled': 0.5, 'sam_alone': 1.5}


@pytest.fixture
def place(shapes_root, tmp_path):
    return Place(REPO, tmp_path / 'none', shapes_root, tmp_path / 'out')


@pytest.fixture
def calls(monkeypatch):
    """The tools do nothing but leave a run; what trainings were called with."""
    made = []

    def pretend(tool, arguments, log):
        if tool.name != 'train.py':
            return
        config, *arguments = map(str, arguments)
        made.append((Path(config).name, arguments))
        folder = log.with_name(log.name.removesuffix('.log'))
        name, seed = re.fullmatch(r'(\w+)_seed(\d)', folder.name).groups()
        metrics = {
            'prompted_iou/box': BOX.get(name, [0.9])[int(seed)],
            'prompted_iou/1_click': CLICK.get(name, [0.9])[int(seed)],
        }
        length = int(re.search(r'max_iters=(\d+)', ' '.join(arguments))[1])
        make_run(folder, metrics, length, [9.0, SECONDS.get(name, 1.0)])

    monkeypatch.setattr(runs, 'run_tool', pretend)
    return made


def test_both_ways_of_each_seed(place, calls):
    gains = compare_sam_distillation(place, seeds=[0, 1], iters=40, command='the call')
    assert gains['a box'].difference.values == pytest.approx([10.0, 12.0])
    assert gains['one click'].difference.values == pytest.approx([0.0, -2.0])
    page = (place.out_dir / 'sam_distillation_box.md').read_text()
    assert page.startswith(
        'Mean IoU, %, of the masks of a box, RapidNet-Ti on Shapes, 40 iterations. '
    )
    assert 'per iteration: 0.500 ± 0.000 (n=2) distilled and 1.500 ± 0.000' in page
    assert 'the call' in page
    assert read_rows(page)[:3] == [
        ('seed', 'distilled', 'with prompts alone', 'difference'),
        ('0', '80.00', '70.00', '+10.00'),
        ('1', '84.00', '72.00', '+12.00'),
    ]
    record = json.loads((place.out_dir / 'sam_distillation_1_click.json').read_text())
    assert record['gains'][0]['difference']['mean'] == pytest.approx(-1.0)

    segmenter, teacher, *students = calls
    assert segmenter[0] == 'semfpn_repvit_m0_6_shapes.py'
    assert teacher[0] == 'sam_repvit_m0_6_shapes.py'
    assert '--pretrained' in teacher[1]
    weights = f'model.teacher.checkpoint={place.out_dir}/sam_teacher_seed0/iter_40.pth'
    for (config, arguments), seed, taught in zip(
        students, (0, 0, 1, 1), (True, False) * 2, strict=True
    ):
        assert config == f'sam_rapidnet_ti_shapes{"_distill" * taught}.py'
        assert (weights in arguments) == taught
        assert arguments[1] == f'{place.dense_root}/coco'
        assert f'randomness.seed={seed}' in arguments


def test_a_teacher_that_is_there(place, calls, tmp_path):
    path = tmp_path / 'teacher.pth'
    with pytest.raises(UserError, match='teacher.pth does not exist'):
        compare_sam_distillation(place, seeds=[0, 1], teacher=path, iters=40)
    torch.save({'a': torch.zeros(1)}, path)
    compare_sam_distillation(place, seeds=[0, 1], teacher=path, iters=40)
    assert len(calls) == 4
    assert f'model.teacher.checkpoint={path}' in calls[0][1]
