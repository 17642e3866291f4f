"""An encoder that learns from another one's embeddings; SAM's own encoders."""

from copy import deepcopy

import pytest
import torch
from helpers import tiny_distillation, tiny_sam
from helpers.commands import REPO
from helpers.golden import largest_difference
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from segment_anything import modeling, sam_model_registry

from mmrapidnet.config.load import load_config
from mmrapidnet.models import DistilledSegmentAnything, SAMViT
from mmrapidnet.models.sam.distilled import SAMTeacher, masked_mse
from mmrapidnet.models.sam.sam_vit import rename_published
from mmrapidnet.utils.errors import UserError

SIZE = tiny_sam.IMAGE_SIZE
TINY_VIT = dict(embed_dim=16, depth=2, num_heads=2, global_attn_indexes=[1])


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return tiny_sam.write(tmp_path_factory.mktemp('teacher'))[1]


def build(teacher=None, seed=0, **options) -> DistilledSegmentAnything:
    torch.manual_seed(seed)
    return MODELS.build(
        dict(
            type='DistilledSegmentAnything',
            backbone=tiny_distillation.STUDENT,
            neck=dict(type='SAMNeck', in_channels=[8, 8]),
            teacher=teacher,
            **{'image_size': SIZE, **options},
        )
    )


def build_taught(checkpoint) -> DistilledSegmentAnything:
    model = build(dict(**tiny_sam.MODEL, checkpoint=str(checkpoint)))
    model.init_weights()
    return model.train()


def batch() -> dict:
    """An image that fills the input, and one that fills a part of it."""
    images, samples = [], []
    for height, width in ((SIZE, SIZE), (SIZE // 2, SIZE - 20)):
        image = tiny_sam.draw_image(height, width, seed=height)
        images.append(torch.from_numpy(image).permute(2, 0, 1))
        samples.append(BaseDataElement(metainfo=dict(img_shape=(height, width))))
    return dict(inputs=images, data_samples=samples)


def train_step(model):
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='AdamW', lr=1e-3)))
    return wrapper, model.train_step(batch(), wrapper)


# ------------------------------------------------------------- the loss


def test_loss_by_hand():
    """Errors of 1 and 3 in the first image, of 2 in the second; padding is no error."""
    embeddings = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    targets = torch.tensor(
        [[[[1.0, 3.0], [9.0, 9.0]]], [[[2.0, 9.0], [9.0, 9.0]]]], dtype=torch.float64
    )
    # (1 + 9) / 2 and 4: images count alike, whatever their size.
    assert masked_mse(embeddings, targets, [(1, 2), (1, 1)]).item() == 4.5
    assert masked_mse(embeddings, targets, [(2, 2), (1, 1)]).item() == (172 / 4 + 4) / 2


def test_loss_is_of_the_teachers_embeddings(weights):
    model = build_taught(weights)
    data = model.data_preprocessor(batch())
    loss = model(**data, mode='loss')['loss_distill']
    with torch.no_grad():
        error = model(data['inputs']) - tiny_sam.build()(data['inputs'])
    # Of 128 x 128 pixels, and of 64 x 108: 4 rows and 7 columns of 16 pixels.
    wanted = (error[0].square().mean() + error[1, :, :4, :7].square().mean()) / 2
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_padding_teaches_nothing(weights):
    model = build_taught(weights)
    data = model.data_preprocessor(batch())
    teacher = model.teacher
    expected = model.eval()(**data, mode='loss')['loss_distill'].item()

    def disturb(inputs, samples):
        targets = SAMTeacher.__call__(teacher, inputs, samples)
        targets[1, :, 4:] = 100
        targets[1, :, :, 7:] = 100
        return targets

    model.teacher = disturb
    assert model(**data, mode='loss')['loss_distill'].item() == expected


# ------------------------------------------------------------- the teacher


def test_the_encoder_alone_learns(weights):
    model = build_taught(weights)
    before = deepcopy(model.state_dict())
    _, log = train_step(model)
    assert log['loss'].item() == log['loss_distill'].item() > 0
    same = [
        name
        for name, value in model.named_parameters()
        if torch.equal(value, before[name])
    ]
    decoder = [
        n for n in before if n.split('.')[0] in ('prompt_encoder', 'mask_decoder')
    ]
    assert sorted(same) == sorted(n for n in decoder if 'positional' not in n)
    taught = tiny_sam.build().state_dict()
    assert all(torch.equal(model.state_dict()[name], taught[name]) for name in decoder)


def test_teacher_is_no_part_of_the_model(weights):
    model = build_taught(weights)
    assert list(model.state_dict()) == list(build().state_dict())
    theirs = {id(p) for p in model.teacher.model.parameters()}
    wrapper, _ = train_step(model)
    optimized = {id(p) for g in wrapper.optimizer.param_groups for p in g['params']}
    assert not theirs & optimized
    for part in (model.train(), model.eval().train()):
        assert part.training
        assert not any(m.training for m in model.teacher.model.modules())
    assert ExponentialMovingAverage(model).module.teacher is model.teacher
    model.double()
    assert next(model.teacher.model.parameters()).dtype == torch.float64


def test_a_run_draws_the_same_numbers_with_a_teacher(weights):
    torch.manual_seed(1)
    model = build(dict(**tiny_sam.MODEL, checkpoint=str(weights)))
    model.init_weights()
    drawn = torch.rand(1)
    other = build()
    super(DistilledSegmentAnything, other).init_weights()
    assert drawn == torch.rand(1)


# ------------------------------------------------------------- SAM's own encoders


@pytest.fixture(scope='module')
def sam():
    """A small SAM of the package's own parts."""
    torch.manual_seed(0)
    ours = tiny_sam.build()
    encoder = modeling.ImageEncoderViT(
        **TINY_VIT,
        img_size=SIZE,
        norm_layer=lambda size: torch.nn.LayerNorm(size, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
    )
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return modeling.Sam(encoder, ours.prompt_encoder, ours.mask_decoder).eval()


VIT = dict(
    type='SegmentAnything',
    backbone=dict(type='SAMViT', arch=TINY_VIT, image_size=SIZE),
    neck=dict(type='SAMNeck', in_channels=[16]),
    image_size=SIZE,
)


def test_published_files_teach_as_the_package_would(sam, tmp_path):
    path = tmp_path / 'sam_vit_tiny.pth'
    torch.save(sam.state_dict(), path)
    teacher = SAMTeacher(dict(**VIT, checkpoint=str(path)))
    inputs = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = sam.image_encoder(inputs)
    assert largest_difference(teacher(inputs, []), expected) < 1e-5
    theirs = sam.state_dict()
    decoder = teacher.decoder_weights()
    assert decoder and all(torch.equal(decoder[n], theirs[n]) for n in decoder)


@pytest.mark.parametrize(('arch', 'channels'), [('b', 768), ('l', 1024), ('h', 1280)])
def test_archs_are_the_published_ones(arch, channels):
    with torch.device('meta'):
        theirs = sam_model_registry[f'vit_{arch}']()
        ours = MODELS.build(
            dict(
                type='SegmentAnything',
                backbone=dict(type='SAMViT', arch=arch),
                neck=dict(type='SAMNeck', in_channels=[channels]),
            )
        )
    windows = [block.window_size for block in theirs.image_encoder.blocks]
    assert [block.window_size for block in ours.backbone.blocks] == windows
    renamed = rename_published(theirs.state_dict())
    shapes = {name: value.shape for name, value in renamed.items()}
    assert shapes == {name: value.shape for name, value in ours.state_dict().items()}


def test_the_recipe_has_the_published_teacher():
    cfg = load_config(str(REPO / 'configs' / 'sam_repvit_m0_9_distill.py'))
    teacher = {k: v for k, v in cfg.model.teacher.items() if k != 'checkpoint'}
    with torch.device('meta'):
        student, teacher = MODELS.build(cfg.model), MODELS.build(teacher)
        shape = student(torch.zeros(1, 3, 1024, 1024)).shape
        assert shape == teacher(torch.zeros(1, 3, 1024, 1024)).shape
    assert shape == (1, 256, 64, 64)
    # Millions, as SAM's paper has it of ViT-H.
    encoder = (*teacher.backbone.parameters(), *teacher.neck.parameters())
    assert sum(p.numel() for p in encoder) / 1e6 == pytest.approx(637, abs=1)


# ------------------------------------------------------------- bad input


def test_unknown_arch():
    with pytest.raises(UserError, match="arch='g' of SAMViT: choose one of b, l, h"):
        SAMViT('g')


@pytest.mark.parametrize(
    ('teacher', 'message'),
    [
        (None, r'needs a teacher: .* or give model.embeddings=DIR'),
        (
            dict(tiny_sam.MODEL),
            r'\(SegmentAnything\) has no weights: .* or give model',
        ),
        (dict(**tiny_sam.MODEL, checkpoint='no.pth'), 'has no file no.pth: check'),
    ],
)
def test_no_teacher(teacher, message):
    with pytest.raises(UserError, match=message):
        build(teacher).init_weights()


def test_teachers_that_do_not_fit(weights):
    teacher = dict(**tiny_sam.MODEL, checkpoint=str(weights))
    with pytest.raises(UserError, match='image_size=64 and 256 channels, its teacher'):
        build(teacher, image_size=64).init_weights()
    other = dict(type='ImgDataPreprocessor', mean=[0.0], std=[1.0])
    with pytest.raises(UserError, match='data_preprocessor differ in mean or std'):
        build(dict(**teacher, data_preprocessor=other)).init_weights()
    vit = dict(**VIT, checkpoint=str(weights))
    with pytest.raises(UserError, match='does not fit the teacher, SegmentAny'):
        build(vit).init_weights()
