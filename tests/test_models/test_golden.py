"""Every model equals its published implementation, through a file on disk.

The file is written in the published names and layout, converted, and loaded as a user
loads it.
"""

import re

import pytest
import torch
from helpers import golden
from helpers.archs import COSTS, one_per_family
from helpers.published import published_keys

from dev.model_zoo.classifiers import MODEL_NAMES, build_classifier
from mmrapidnet.checkpoints.convert.convert import convert_checkpoint
from mmrapidnet.checkpoints.state_dict import get_state_dict, read_checkpoint

SIZES = ((64, 96), (160, 224))


def our_shapes(model: str) -> dict[str, torch.Size]:
    """Our tensors under the names they have in a classifier."""
    state = build_classifier(model).state_dict()
    return {
        re.sub(r'^classifier\.', 'head.classifier.', name): value.shape
        for name, value in state.items()
    }


@pytest.fixture(scope='module', params=one_per_family(MODEL_NAMES))
def converted(request, tmp_path_factory):
    """The model's name and its converted checkpoint."""
    model = request.param
    shapes = our_shapes(model)
    names = published_keys(model, shapes)
    state = {
        theirs: golden.parameter(theirs, tuple(shapes[ours]))
        for ours, theirs in names.items()
    }
    folder = tmp_path_factory.mktemp(model)
    entry = 'model' if model.startswith('repvit') else 'state_dict'
    torch.save({entry: state}, folder / 'published.pth')
    convert_checkpoint(folder / 'published.pth', folder / 'ours.pth')
    (folder / 'published.pth').unlink()
    yield model, folder / 'ours.pth'
    (folder / 'ours.pth').unlink()


def load(model: str, path, **options):
    """Backbone and classifier in float64, filled from the file."""
    classifier = build_classifier(model)
    kind = type(classifier.backbone)
    backbone = kind(
        arch=model.partition('_')[2],
        init_cfg=dict(type='Pretrained', checkpoint=str(path)),
        **options,
    ).double()
    backbone.init_weights()
    top = classifier.classifier.double()
    prefix = 'head.classifier.'
    top.load_state_dict(
        {
            name.removeprefix(prefix): value
            for name, value in get_state_dict(
                read_checkpoint(str(path)), path.name
            ).items()
            if name.startswith(prefix)
        }
    )
    return backbone.eval(), top.eval()


@pytest.mark.parametrize('model', MODEL_NAMES)
def test_has_as_many_parameters_as_published(model):
    with torch.device('meta'):
        parameters = build_classifier(model).parameters()
    count = sum(parameter.numel() for parameter in parameters)
    assert round(count / 1e6, 3) == COSTS[model][0]


@torch.no_grad()
def test_equals_the_published_implementation(converted, record_property):
    model, path = converted
    theirs = golden.expected(model)
    backbone, top = load(model, path)
    differences = {}

    def compare(name, value):
        if name in theirs:
            differences[name] = golden.largest_difference(value, theirs[name])

    for height, width in SIZES:
        image = golden.image(height, width)
        features = backbone(image)
        for i, feature in enumerate(features):
            compare(f'{height}x{width}_stage{i}', feature)
        compare(f'{height}x{width}_logits', top(features[-1]))

    if model.startswith('repvit'):
        early, _ = load(model, path, tap='before_last')
        for i, feature in enumerate(early(golden.image(64, 96))[:3]):
            compare(f'64x96_pre{i}', feature)
        # Where the stages end in the published list of blocks, the stem being 0.
        ends = torch.tensor([len(stage) for stage in backbone.stages]).cumsum(0)
        compare('block_index_stage_end', ends.double())

    assert set(differences) == set(theirs)
    record_property('largest_difference', max(differences.values()))
    assert max(differences.values()) < 1e-6, differences
