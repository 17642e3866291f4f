"""The model index, the metafile and the tables of models: nothing in them is typed."""

import re
import shutil

import modelindex
import pytest
import yaml
from helpers.archs import COSTS, one_per_family
from helpers.commands import REPO, assert_one_line_error
from helpers.tool_server import fork_tool

from dev import model_cards
from dev.model_zoo import cards, figures
from dev.model_zoo.cards import PUBLISHED
from dev.model_zoo.classifiers import build_classifier
from mmrapidnet.apis.complexity import count_macs, count_parameters
from mmrapidnet.utils.errors import UserError

PAGE = f'# A page\n\n{model_cards._BEGIN}\nold\n{model_cards._END}\n\nThe end.\n'
PAGES = (model_cards.README, model_cards.MODEL_ZOO)
FOR_PHONES = ('rtmdet_ins_rapidnet_ti_coco', 'semfpn_lite_rapidnet_ti_ade20k')
# Of the models of the small repository, by their parameters.
MACS = {}


def count_macs_once(model, size):
    key = count_parameters(model), size
    if key not in MACS:
        MACS[key] = count_macs(model, size)
    return MACS[key]


@pytest.fixture(scope='module')
def generated():
    """All models are built once; one classifier per family runs, to be counted.

    What the others cost is taken from the committed file: `test_costs_of_classifiers`
    holds it against the published implementations, and a slow test counts it.
    """
    committed = yaml.safe_load((REPO / model_cards.METAFILE).read_text())['Models']
    costs = {entry['Name']: entry['Metadata'] for entry in committed}
    few = [name for name in one_per_family(COSTS) if isinstance(name, str)]
    known = {
        cost['Parameters']: cost['FLOPs']
        for name, cost in costs.items()
        if 'FLOPs' in cost and name.removesuffix('_in1k') not in few
    }
    assert len(known) == len(COSTS) - len(few) + len(FOR_PHONES)

    def count(model, size):
        return known.get(count_parameters(model)) or count_macs_once(model, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cards, 'count_macs', count)
        return model_cards.generate(REPO)


@pytest.mark.slow
def test_costs_are_as_counted(generated):
    assert model_cards.generate(REPO) == generated


@pytest.fixture(scope='module')
def models(generated):
    metafile = yaml.safe_load(generated[REPO / model_cards.METAFILE])
    return {model['Name']: model for model in metafile['Models']}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A repository with two recipes, the published figures of one, and no cards."""
    monkeypatch.setattr(cards, 'count_macs', count_macs_once)
    root = tmp_path / 'repo'
    shutil.copytree(REPO / 'configs' / '_base_', root / 'configs' / '_base_')
    for name in ('rapidnet_ti_in1k.py', 'rapidnet_s_in1k.py'):
        shutil.copy(REPO / 'configs' / name, root / 'configs')
    (root / 'docs').mkdir()
    for page in PAGES:
        (root / page).write_text(PAGE)
    write_published(
        root,
        {
            'rapidnet_ti_in1k': [
                dict(
                    figures={'Top 1 Accuracy': 61.5},
                    latency={'A Phone': 0.9},
                    source='a paper',
                    file='a.pth',
                    where='https://an.address',
                ),
                dict(setting='longer', figures={'Top 1 Accuracy': 62}, source='a log'),
            ]
        },
    )
    return root


def write_published(root, models):
    family = dict(title='A title', paper='p', code='c', architecture=['a'])
    content = {'families': {'RapidNet': family}, 'models': models}
    (root / 'configs' / 'published.yml').write_text(yaml.safe_dump(content))


def measured(**changes):
    entry = dict(
        model='rapidnet_s_in1k',
        checkpoint='b.pth',
        sha256='0' * 64,
        setting=None,
        figures={'Top 1 Accuracy': 70.25},
        images=50000,
        seconds_per_image=0.01,
        command='python -m dev.reproduce',
        machine='A Machine',
        versions={'torch': '2.13.0'},
        date='2026-01-02',
    )
    return figures.Result(**{**entry, **changes})


@pytest.mark.parametrize(
    'name', [model_cards.METAFILE, model_cards.MODEL_INDEX, *PAGES]
)
def test_files_are_as_generated(generated, name):
    text = (REPO / name).read_text(encoding='utf-8')
    assert text == generated[REPO / name], 'run python -m dev.model_cards'


@pytest.mark.parametrize('name', COSTS)
def test_costs_of_classifiers(models, name):
    metadata = models[f'{name}_in1k']['Metadata']
    params, gmacs = COSTS[name]
    assert metadata['Parameters'] / 1e6 == pytest.approx(params, abs=0.0006)
    assert metadata['FLOPs'] / 1e9 == pytest.approx(gmacs, abs=0.0006)


def test_parameters_of_dense_models(models):
    """What two backbones differ by, and the 1x1 convolutions that read them."""
    s, m = (
        count_parameters(build_classifier(f'rapidnet_{arch}').backbone) for arch in 'sm'
    )
    laterals = 256 * (160 + 320 - 112 - 224)
    for name in ('maskrcnn_rapidnet_{}_coco', 'semfpn_rapidnet_{}_ade20k'):
        with_s, with_m = (models[name.format(arch)]['Metadata'] for arch in 'sm')
        assert 'FLOPs' not in with_s
        assert with_m['Parameters'] - with_s['Parameters'] == m - s + laterals


def test_every_recipe_has_a_card(models):
    """Those of the papers, and those for phones."""
    compared = ('maskrcnn_', 'semfpn_', 'sam_')
    names = {
        path.stem
        for path in (REPO / 'configs').glob('*.py')
        if path.stem.endswith('_in1k')
        or (path.stem.endswith(('_coco', '_ade20k')) and path.stem.startswith(compared))
    }
    assert set(models) == names | {*FOR_PHONES}
    assert len(names) >= 32
    assert all(f'configs/{name}.py' == models[name]['Config'] for name in names)


@pytest.mark.parametrize('name', FOR_PHONES)
def test_decoders_for_phones_cost_less_than_the_backbone(models, name):
    cost = models[name]['Metadata']
    backbone = count_parameters(build_classifier('rapidnet_ti').backbone)
    assert 0 < cost['Parameters'] - backbone < 0.25 * backbone
    # The classifier's 0.628 G at 224, at 640 and 512.
    side = 640 if name.startswith('rtmdet') else 512
    of_backbone = 0.628e9 * (side / 224) ** 2
    assert of_backbone < cost['FLOPs'] < 2 * of_backbone


def test_sam_is_not_said_to_be_trained_where_it_is_tested(models):
    sam = models['sam_repvit_m2_3_coco']['Metadata']
    # The encoder, its neck, and SAM's prompt encoder and mask decoder.
    assert sam == {'Parameters': pytest.approx(23.16e6 + 4.06e6, abs=1e4)}
    others = [m for name, m in models.items() if not name.startswith('sam_')]
    assert all('Training Data' in model['Metadata'] for model in others)


def test_published_figures_keep_their_source(models):
    published = figures.read_published(REPO / PUBLISHED).models
    marked = {
        (name, metric, value, entry['Published']['source'])
        for name, model in models.items()
        for entry in model.get('Results', ())
        if 'Published' in entry
        for metric, value in entry['Metrics'].items()
    }
    assert marked == {
        (name, f'{metric} (published)', value, run.source)
        for name, runs in published.items()
        for run in runs
        for metric, value in run.figures.items()
    }
    assert (
        'maskrcnn_repvit_m2_3_coco',
        'mask AP (published)',
        40.8,
        'THU-MIG/RepViT, detection/README.md, table of models',
    ) in marked


def test_every_figure_has_one_mark(models):
    results = [entry for model in models.values() for entry in model.get('Results', ())]
    for entry in results:
        (mark,) = {'Published', 'Measured'} & set(entry)
        (name,) = entry['Metrics']
        assert name.endswith(f' ({mark.lower()})')
        assert entry[mark].get('source') or entry[mark]['machine']
    assert len(results) >= 25


def test_loads_as_a_model_index(models):
    index = modelindex.load(str(REPO))
    index.check()
    assert {model.name: model.config for model in index.models} == {
        name: model['Config'] for name, model in models.items()
    }
    families = {model.in_collection for model in index.models}
    assert {collection.name for collection in index.collections} == families
    (card,) = (m for m in index.models if m.name == 'repvit_m1_0_in1k')
    assert card.metadata.parameters == models[card.name]['Metadata']['Parameters']
    assert [result.metrics for result in card.results] == [
        {'Top 1 Accuracy (published)': 80.0},
        {'Top 1 Accuracy (published)': 80.3},
    ]
    assert card.full_model.paper['URL'] == 'https://arxiv.org/abs/2307.09283'


def rows_of(page, first):
    """Cells of the rows of a page whose first cell begins so."""
    rows = [line for line in page.splitlines() if line.startswith(f'| {first}')]
    return [[cell.strip() for cell in row.split('|')[1:-1]] for row in rows]


def test_tables_of_the_model_zoo(small):
    figures.add_result(measured(), small / 'results.yml')
    page = model_cards.generate(small)[small / model_cards.MODEL_ZOO]
    assert page.startswith('# A page\n\n') and page.endswith('\n\nThe end.\n')
    assert 'old' not in page
    assert rows_of(page, '`RapidNet`') == [
        ['`RapidNet`', '[A title](p)', '[code](c)', 'a'],
    ]
    assert rows_of(page, '[') == [
        [
            '[`rapidnet_ti_in1k`](../configs/rapidnet_ti_in1k.py)',
            *('32 64 112 224', '2 2 6+2 2+2', '6.628', '5.486', '0.628'),
            *('61.5 [1], 62.0 (longer) [2]', ''),
        ],
        [
            '[`rapidnet_s_in1k`](../configs/rapidnet_s_in1k.py)',
            *('32 64 112 224', '3 3 9+3 3+3', '9.213', '8.071', '0.912'),
            *('', '70.2 on A Machine'),
        ],
    ]
    assert rows_of(page, '`rapidnet_') == [
        [
            *('`rapidnet_ti_in1k`', '', 'published [1]', '0.9 (A Phone)'),
            '[a.pth](https://an.address)',
        ],
        ['`rapidnet_ti_in1k`', 'longer', 'published [2]', '', ''],
        [
            *('`rapidnet_s_in1k`', '', 'measured on A Machine, 2026-01-02', ''),
            f'b.pth, SHA-256 `{"0" * 64}`',
        ],
    ]
    assert re.findall(r'^- (.*)', page, re.MULTILINE) == ['[1] a paper', '[2] a log']


def test_table_of_the_readme(small):
    """One row per backbone, the highest published figure linked to the config."""
    figures.add_result(measured(), small / 'results.yml')
    page = model_cards.generate(small)[small / model_cards.README]
    assert page.startswith('# A page\n\n') and page.endswith('\n\nThe end.\n')
    assert 'old' not in page
    ti = '[62.0](configs/rapidnet_ti_in1k.py)'
    s = '[config](configs/rapidnet_s_in1k.py)'
    assert rows_of(page, '`') == [
        ['`RapidNet`', '`ti`', '5.486', '0.628', ti, '', '', ''],
        ['`RapidNet`', '`s`', '8.071', '0.912', s, '', '', ''],
    ]


def test_models_of_a_backbone_share_a_row(generated):
    rows = rows_of(generated[REPO / model_cards.README], '`')
    assert len(rows) == len(COSTS) + 1  # and MobileNetV2
    (row,) = (row for row in rows if row[1] == '`m2_3`')
    assert row[4:] == [
        '[83.7](configs/repvit_m2_3_in1k.py)',
        '[44.6 / 40.8](configs/maskrcnn_repvit_m2_3_coco.py)',
        '[44.4](configs/sam_repvit_m2_3_coco.py)',
        '[46.1](configs/semfpn_repvit_m2_3_ade20k.py)',
    ]


def test_measured_figures_name_their_machine(small):
    figures.add_result(measured(), small / 'results.yml')
    metafile = yaml.safe_load(model_cards.generate(small)[small / model_cards.METAFILE])
    (card,) = (m for m in metafile['Models'] if m['Name'] == 'rapidnet_s_in1k')
    (entry,) = card['Results']
    assert entry['Metrics'] == {'Top 1 Accuracy (measured)': 70.25}
    assert entry['Measured'] == dict(
        machine='A Machine', date='2026-01-02', file='b.pth', sha256='0' * 64
    )


def test_part_of_the_images_is_no_measurement(small):
    figures.add_result(measured(images=49999), small / 'results.yml')
    for text in model_cards.generate(small).values():
        assert '70.2' not in text


def test_figures_of_no_model(small):
    figures.add_result(measured(model='rapidnet_x_in1k'), small / 'results.yml')
    with pytest.raises(UserError, match='figures of rapidnet_x_in1k, but .* no such'):
        model_cards.generate(small)


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        (dict(figures={'Top 1 Accuracy': 1.0}), 'a figure without a source'),
        (dict(latency={'a phone': 1.0}), 'a figure without a source'),
        (dict(figures={'mIoU': 1.0}, source='a'), 'no figure mIoU .* Top 1 Accuracy'),
        (dict(figure={}), "does not fit: .*unexpected keyword argument 'figure'"),
    ],
)
def test_wrong_published_entries(small, entry, message):
    write_published(small, {'rapidnet_s_in1k': [entry]})
    with pytest.raises(UserError, match=f'rapidnet_s_in1k: .*{message}'):
        model_cards.generate(small)


def test_a_result_replaces_that_of_the_same_checkpoint(tmp_path):
    path = tmp_path / 'results.yml'
    assert figures.read_results(path) == []
    other = measured(sha256='1' * 64, checkpoint='c.pth')
    for result in (other, measured(), measured(figures={'Top 1 Accuracy': 71.0})):
        figures.add_result(result, path)
    assert figures.read_results(path) == [
        measured(figures={'Top 1 Accuracy': 71.0}),
        other,
    ]


def test_check_names_what_is_not_as_generated(small):
    stale = 'metafile.yml, model-index.yml, README.md, model_zoo.md not as generated'
    with pytest.raises(UserError, match=stale):
        model_cards.check_cards(small)
    assert all((small / page).read_text() == PAGE for page in PAGES)
    assert len(model_cards.write_cards(small)) == 4
    assert model_cards.write_cards(small) == []
    model_cards.check_cards(small)


@pytest.mark.parametrize('page', PAGES)
def test_page_without_a_place(small, page):
    (small / page).write_text('# A page\n')
    with pytest.raises(UserError, match=f'{page} has no place .*<!-- end of models'):
        model_cards.generate(small)


def test_command_writes_and_checks(small):
    (small / 'configs' / 'rapidnet_s_in1k.py').unlink()
    done = fork_tool('dev/model_cards.py', '--root', small)
    assert done.returncode == 0, done.stderr
    for name in ('metafile.yml', 'model-index.yml', 'README.md', 'model_zoo.md'):
        assert f'{name}\n' in done.stdout
    zoo = small / model_cards.MODEL_ZOO
    zoo.write_text(zoo.read_text().replace('61.5', '61.6'))
    done = fork_tool('dev/model_cards.py', '--root', small, '--check')
    assert_one_line_error(
        done, 'model_zoo.md not as generated', 'run python -m dev.model_cards'
    )
    assert '61.6' in zoo.read_text()
