"""RapidNet's ablations: every row builds, trains, predicts and has its counts."""

import sys

import pytest
import torch
import yaml
from helpers.commands import REPO, assert_one_line_error
from helpers.tables import read_rows
from helpers.tool_server import fork_tool
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample

from dev import ablations as command
from dev.model_zoo import ablations
from dev.model_zoo.ablations import COLUMNS, print_table, read_ablations
from mmrapidnet.config.load import load_config

FOLDER = REPO / 'configs' / 'ablations'
CONFIGS = sorted(path.name for path in FOLDER.glob('*.py'))
# Between them they have all that the rows are made of.
ENOUGH = ('rapidnet_ti_pointwise_in1k.py', 'rapidnet_ti_deformable_in1k.py')

# The paper's supplementary Tables 4 to 6; parameters and multiply-accumulates were
# counted by rebuilding each row on the published implementation.
TABLE = """
| pointwise | 1x1 | no | no | 4.425 | 0.454 |  | 0.4 | 75.2 |
| 3x3 | 3x3 | no | no | 5.429 | 0.533 |  | 0.5 | 75.7 |
| SLDC | 3x3 d2 | no | no | 5.429 | 0.533 |  | 0.5 | 75.8 |
| SLDC | 3x3 d2 | yes | no | 5.463 | 0.536 |  | 0.5 | 75.9 |
| SLDC | 3x3 d2 | yes | yes | 5.497 | 0.539 |  | 0.5 | 76.0 |
| MLDC | 3x3 d2 + 3x3 d3 | yes | yes | 6.628 | 0.628 | 6.6 | 0.6 | 76.3 (75.1) |
| MLDC, dilations 3 and 4 | 3x3 d3 + 3x3 d4 | yes | yes | 6.628 | 0.628 | 6.6 |  | 75.9 |
| MLDC, 5x5 | 5x5 d2 + 3x3 d3 | yes | yes | 8.635 | 0.785 | 8.6 |  | 76.4 |
| deformable | deformable 3x3 d2 + 3x3 d3 | yes | yes | 6.735 |  | 6.7 |  | 76.0 |
| SVGA | MobileViG | no | no | 5.271 | 0.674 |  | 0.7 | 75.7 (74.5) |
"""  # noqa: E501


def expected() -> list[tuple[str, ...]]:
    return read_rows(TABLE)


def build(name: str):
    cfg = load_config(str(FOLDER / name))
    cfg.model.head.distillation = 'none'
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    return MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})


def batch(size: int = 64) -> dict:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, size, size), generator=generator).byte()
    samples = [DataSample().set_gt_label(label) for label in (3, 900)]
    return dict(inputs=list(images), data_samples=samples)


@pytest.fixture(scope='module')
def table():
    return read_ablations(FOLDER / 'published.yml')


def test_counts_and_published_figures(table):
    source, rows = table
    assert source == 'arXiv 2412.10995, supplementary Tables 4 to 6'
    assert [row.cells() for row in rows] == expected()


def test_every_leaf_is_a_row():
    content = yaml.safe_load((FOLDER / 'published.yml').read_text())
    rows = [row['config'] for row in content['rows']]
    assert sorted(rows) == sorted([*CONFIGS, '../mobilevig_ti_in1k.py'])


@pytest.mark.parametrize(
    'name',
    [
        name if name in ENOUGH else pytest.param(name, marks=pytest.mark.slow)
        for name in CONFIGS
    ],
)
def test_builds_trains_and_predicts(name):
    model = build(name)
    model.init_weights()
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
    wrapper = build_optim_wrapper(model, dict(optimizer=optimizer))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    log = model.train().train_step(batch(), wrapper)
    assert log['loss'].isfinite() and log['loss'] > 0
    assert [n for n, p in model.named_parameters() if torch.equal(before[n], p)] == []

    with torch.no_grad():
        first, second = model.eval().test_step(batch())
    assert first.pred_score.shape == (1000,)
    assert first.pred_score.sum().item() == pytest.approx(1, abs=1e-5)
    assert (first.gt_label.item(), second.gt_label.item()) == (3, 900)
    assert not torch.equal(first.pred_score, second.pred_score)


def test_the_models_row_is_the_model():
    ablation, model = build('rapidnet_ti_mldc_in1k.py'), build('../rapidnet_ti_in1k.py')
    assert str(ablation.backbone) == str(model.backbone)


def test_leaves_are_short():
    for name in CONFIGS:
        assert len((FOLDER / name).read_text().splitlines()) <= 12, name


def test_command(table, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['ablations.py', '--markdown'])
    read = {FOLDER / 'published.yml': table}
    monkeypatch.setattr(ablations, 'read_ablations', read.get)
    command.main()
    printed = capsys.readouterr().out
    assert read_rows(printed) == [tuple(COLUMNS), *expected()]
    assert printed.strip() in (REPO / 'docs' / 'ablations.md').read_text()


def test_table_for_a_terminal(table, capsys):
    print_table(table[1], 'a title')
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed[0] == ['a', 'title']
    for row in expected():
        assert ' '.join(row).split() in printed


def test_folder_that_is_not_there(tmp_path):
    done = fork_tool('dev/ablations.py', '--folder', tmp_path / 'nowhere')
    assert_one_line_error(done, 'nowhere/published.yml: give the folder of the ablat')
