"""The model that segments anything: any backbone; SAM's decoder, faster."""

import sys

import pytest
import torch
from helpers import tiny_sam
from helpers.golden import largest_difference
from mmengine.config import Config
from mmengine.registry import MODELS
from torch.nn.functional import conv2d, interpolate

from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.models import SAMNeck
from mmrapidnet.utils.errors import UserError

SIZE = tiny_sam.IMAGE_SIZE
GRID = SIZE // 16


def build(backbone, in_channels, **options):
    neck = dict(type='SAMNeck', in_channels=in_channels)
    return MODELS.build(
        dict(type='SegmentAnything', backbone=backbone, neck=neck, **options)
    ).eval()


# ------------------------------------------------------------- the encoder


@torch.no_grad()
def test_neck_sums_its_maps_at_the_size_of_the_first():
    torch.manual_seed(0)
    neck = SAMNeck(in_channels=(6, 4), out_channels=5).double()
    for norm in (neck.lateral_norm, neck.norm):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    fine, coarse = torch.randn(2, 6, 4, 8), torch.randn(2, 4, 2, 4)
    fine, coarse = fine.double(), coarse.double()

    def normalise(x, norm):
        mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        weight, bias = norm.weight[:, None, None], norm.bias[:, None, None]
        return (x - mean) / (var + 1e-6).sqrt() * weight + bias

    first, second = (conv.weight for conv in neck.lateral_convs)
    enlarged = interpolate(conv2d(coarse, second), (4, 8), mode='bilinear')
    x = normalise(conv2d(fine, first) + enlarged, neck.lateral_norm)
    x = normalise(conv2d(x, neck.conv.weight, padding=1), neck.norm)
    assert largest_difference(neck((fine, coarse)), x) < 1e-12
    assert not [name for name, _ in neck.named_parameters() if 'conv.bias' in name]


def test_neck_without_a_map():
    with pytest.raises(UserError, match='in_channels of SAMNeck is empty'):
        SAMNeck(in_channels=())


@pytest.mark.parametrize(
    ('backbone', 'in_channels'),
    [
        (dict(type='RepViT', arch='m0_6', last_stride=1, out_indices=3), 320),
        (dict(type='RepViT', arch='m0_6', out_indices=(2, 3)), (160, 320)),
        (dict(type='RapidNet', arch='ti', out_indices=(2, 3)), (112, 224)),
        (dict(type='MobileViG', arch='ti', out_indices=2), 168),
    ],
)
@pytest.mark.parametrize('image_size', [64, 192])
@torch.no_grad()
def test_any_backbone_at_any_size(backbone, in_channels, image_size):
    model = build(backbone, in_channels, image_size=image_size)
    image = torch.randint(0, 255, (3, image_size, image_size // 2), dtype=torch.uint8)
    inputs = model.data_preprocessor(dict(inputs=[image]))['inputs']
    embedding = model(inputs)
    grid = image_size // 16
    assert embedding.shape == (1, 256, grid, grid)
    # Another half of an image changes what is seen of it.
    assert not torch.equal(embedding, model(inputs.flip(3)))
    boxes = torch.tensor([[1.0, 2.0, 20.0, 30.0]])
    logits, ious = model.build_decoder(embedding)(boxes=boxes)
    assert logits.shape == (1, 3, 4 * grid, 4 * grid)
    assert ious.shape == (1, 3)


def test_images_are_normalised_and_padded():
    model = tiny_sam.build()
    image = torch.full((3, SIZE, SIZE // 2), 200, dtype=torch.uint8)
    inputs = model.data_preprocessor(dict(inputs=[image]))['inputs']
    assert inputs.shape == (1, 3, SIZE, SIZE)
    expected = [
        (200 - 123.675) / 58.395,
        (200 - 116.28) / 57.12,
        (200 - 103.53) / 57.375,
    ]
    torch.testing.assert_close(inputs[0, :, 5, 7], torch.tensor(expected))
    assert not inputs[..., SIZE // 2 :].any()


@torch.no_grad()
def test_fused_model_gives_the_same_embedding():
    model = tiny_sam.build().double()
    inputs = torch.randn(1, 3, SIZE, SIZE, dtype=torch.float64)
    fused = fuse(model)
    assert not [m for m in fused.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert largest_difference(fused(inputs), model(inputs)) < 1e-12


# ------------------------------------------------------------- the decoder


def draw_prompts(count):
    """Prompts of each kind, a row for each; -1 stands for no point."""
    rng = torch.Generator().manual_seed(0)
    points = torch.rand(count, 2, 2, generator=rng) * SIZE
    labels = torch.tensor([[1, 0], [1, -1], [1, 1]]).repeat(count, 1)[:count]
    corners = torch.rand(count, 2, 2, generator=rng).sort(dim=1).values * SIZE
    masks = torch.randn(count, 1, 4 * GRID, 4 * GRID, generator=rng) * 4
    return dict(points=points, labels=labels, boxes=corners.flatten(1), masks=masks)


KINDS = {
    'a point': ('points', 'labels'),
    'a box': ('boxes',),
    'a box and points': ('boxes', 'points', 'labels'),
    'a mask': ('masks',),
    'all': ('points', 'labels', 'boxes', 'masks'),
}


@pytest.fixture(scope='module')
def model():
    return tiny_sam.build()


@pytest.fixture(scope='module')
def embedding(model):
    torch.manual_seed(1)
    with torch.no_grad():
        return model(torch.randn(1, 3, SIZE, SIZE))


def decode_with_the_package(model, embedding, prompts, multimask_output):
    points = prompts.get('points')
    sparse, dense = model.prompt_encoder(
        points=None if points is None else (points, prompts['labels']),
        boxes=prompts.get('boxes'),
        masks=prompts.get('masks'),
    )
    return model.mask_decoder(
        image_embeddings=embedding,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask_output,
    )


@pytest.mark.parametrize('multimask_output', [True, False])
@pytest.mark.parametrize('names', KINDS.values(), ids=KINDS)
@pytest.mark.parametrize('count', [1, 9])
@torch.no_grad()
def test_decoder_equals_the_package(model, embedding, names, count, multimask_output):
    prompts = {key: v for key, v in draw_prompts(count).items() if key in names}
    decode = model.build_decoder(embedding)
    ours = decode(**prompts, multimask_output=multimask_output)
    theirs = decode_with_the_package(model, embedding, prompts, multimask_output)
    masks = 3 if multimask_output else 1
    assert ours[0].shape == (count, masks, 4 * GRID, 4 * GRID)
    assert ours[1].shape == (count, masks)
    for mine, expected in zip(ours, theirs):
        # A single IoU near 0 is a difference of larger numbers.
        assert largest_difference(mine, expected) < 1e-4
    # Prompts of one image differ in what they give.
    assert count == 1 or not torch.allclose(ours[0][0], ours[0][1], atol=1e-3)


@torch.no_grad()
def test_decoder_of_no_prompts(model, embedding):
    logits, ious = model.build_decoder(embedding)(boxes=torch.zeros(0, 4))
    assert logits.shape == (0, 3, 4 * GRID, 4 * GRID)
    assert ious.shape == (0, 3)


def test_decoder_has_the_gradients_of_the_package(model, embedding):
    prompts = draw_prompts(2)
    del prompts['masks']
    given = [embedding.clone().requires_grad_() for _ in range(2)]
    model.build_decoder(given[0])(**prompts)[0].square().mean().backward()
    decode_with_the_package(model, given[1], prompts, True)[
        0
    ].square().mean().backward()
    assert largest_difference(given[0].grad, given[1].grad) < 1e-4
    model.zero_grad()


@torch.no_grad()
def test_masks_are_upscaled_without_the_padding(model):
    logits = torch.randn(2, 3, SIZE // 4, SIZE // 4)
    masks = interpolate(logits, (SIZE, SIZE), mode='bilinear')[..., :96, :]
    same = model.upscale_masks(logits, (96, SIZE), (96, SIZE))
    assert torch.equal(same, masks)
    small = model.upscale_masks(logits, (96, SIZE), (48, 64))
    assert torch.equal(small, interpolate(masks, (48, 64), mode='bilinear'))


# ------------------------------------------------------------- bad input


def test_bad_image_sizes(model):
    with pytest.raises(UserError, match='image_size=1000 .* multiple of 64'):
        MODELS.build({**tiny_sam.MODEL, 'image_size': 1000})
    with pytest.raises(UserError, match='given 64 x 96 pixels, but its image_size is'):
        model(torch.zeros(1, 3, 64, 96))


def test_position_scale():
    frequencies = []
    for options in ({}, dict(position_scale=0.5)):
        torch.manual_seed(0)
        encoder = MODELS.build({**tiny_sam.MODEL, **options}).prompt_encoder
        frequencies.append(encoder.pe_layer.positional_encoding_gaussian_matrix)
    assert torch.equal(frequencies[1], 0.5 * frequencies[0])
    with pytest.raises(UserError, match='position_scale=0 .* above 0'):
        MODELS.build({**tiny_sam.MODEL, 'position_scale': 0})


def test_a_backbone_of_another_stride():
    backbone = dict(type='RepViT', arch='m0_6', out_indices=3)
    model = build(backbone, 320, image_size=64)
    with pytest.raises(UserError, match=r'stride of 32, but .* last_stride=1'):
        model(torch.zeros(1, 3, 64, 64))


def test_another_mode(model):
    with pytest.raises(UserError, match="mode='train' of .* 'loss' or 'predict'"):
        model(torch.zeros(1, 3, SIZE, SIZE), mode='train')


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'segment_anything', None)
    with pytest.raises(UserError, match=r'pip install "mmrapidnet\[sam\]"') as caught:
        MODELS.build(tiny_sam.MODEL)
    assert '\n' not in str(caught.value)


# ------------------------------------------------------------- the config


def test_config_is_the_published_model():
    """Millions of parameters as counted on the published implementation."""
    cfg = Config.fromfile('configs/sam_repvit_m2_3.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    counts = {
        name: sum(p.numel() for p in part.parameters()) / 1e6
        for name, part in model.named_children()
    }
    assert counts['backbone'] + counts['neck'] == pytest.approx(23.16, abs=5e-3)
    assert counts['prompt_encoder'] == pytest.approx(0.006, abs=5e-4)
    assert counts['mask_decoder'] == pytest.approx(4.06, abs=5e-3)
    assert model.image_size == 1024
    assert model.backbone.strides == (16,)
    assert cfg.custom_imports.imports == ['mmrapidnet', 'mmrapidnet.compat.patch_all']
