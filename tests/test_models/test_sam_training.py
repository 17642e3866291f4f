"""Training with prompts: what a round is given, what learns, what tests ask for."""

import copy

import numpy as np
import pytest
import torch
from helpers import tiny_sam
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import MODELS
from mmengine.structures import InstanceData

from mmrapidnet.models.sam.losses import dice_loss, focal_loss
from mmrapidnet.models.sam.prompt_testing import predict_prompted
from mmrapidnet.models.sam.prompt_training import Prompts, PromptTraining
from mmrapidnet.models.sam.prompts import find_boxes, innermost_points
from mmrapidnet.utils.errors import UserError

SIZE = 64
NECK = dict(type='SAMNeck', in_channels=[16], out_channels=32)
MODEL = {**tiny_sam.MODEL, 'image_size': SIZE, 'neck': NECK}
TRAIN_CFG = dict(corrections=2, refinements=1, box_prob=0.5)


def build(**options):
    torch.manual_seed(0)
    return MODELS.build({**MODEL, 'train_cfg': TRAIN_CFG, **options})


def draw_masks(count, height=SIZE, width=SIZE):
    masks = np.zeros((count, height, width), np.uint8)
    for number, mask in enumerate(masks):
        top, left = 4 + 7 * number, 6 + 5 * number
        mask[top : top + 20, left : left + 14] = 1
    return masks


def make_sample(masks, size=None):
    sample = DetDataSample(metainfo=dict(img_shape=size or masks.shape[1:]))
    sample.gt_instances = InstanceData(
        masks=BitmapMasks(masks, *masks.shape[1:]),
        labels=torch.zeros(len(masks), dtype=torch.long),
    )
    return sample


def make_batch(*counts):
    torch.manual_seed(7)
    images = torch.randint(0, 255, (len(counts), 3, SIZE, SIZE), dtype=torch.uint8)
    samples = [make_sample(draw_masks(count)) for count in counts]
    return dict(inputs=list(images), data_samples=samples)


def losses_of(model, batch):
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    return model(**data, mode='loss')


class Decoder:
    """Keeps what it is asked; gives logits of its own choice."""

    def __init__(self, logits, ious=(0.1, 0.9, 0.5)):
        self.logits, self.ious, self.asked = logits, torch.tensor(ious), []

    def __call__(self, points, labels, boxes, masks, multimask_output):
        self.asked.append(Prompts(points, labels, boxes, masks))
        self.multimask = [*getattr(self, 'multimask', []), multimask_output]
        count = 3 if multimask_output else 1
        logits = (self.logits[:, None] + torch.zeros(count, 1, 1)).requires_grad_()
        scale = torch.arange(1.0, count + 1)[:, None, None]
        return logits * scale, self.ious[:count].expand(len(logits), -1)


# ------------------------------------------------------------- the rounds


def test_rounds_from_a_point():
    """Three masks once; then one, of one more point and the mask before."""
    torch.manual_seed(0)
    truth = torch.from_numpy(draw_masks(2)).bool()
    decoder = Decoder(torch.full((2, 16, 16), -1.0))
    training = PromptTraining(corrections=2, refinements=0)
    losses = training.run_rounds(training.draw_points(truth), decoder, truth)
    assert decoder.multimask == [True, False, False]
    first, second, third = decoder.asked
    assert first.masks is None and first.boxes is None
    assert [len(p.points[0]) for p in decoder.asked] == [1, 2, 3]
    # That of which the model expects most, the second: twice -1.
    assert torch.equal(second.masks, torch.full((2, 1, 16, 16), -2.0))
    assert torch.equal(third.masks, torch.full((2, 1, 16, 16), -1.0))
    assert not second.masks.requires_grad
    # Nothing was found, so that every point is inside of what was missed.
    assert (third.labels == 1).all()
    x, y = third.points.long().unbind(2)
    assert all(truth[n, y[n], x[n]].all() for n in range(2))
    assert losses['first_iou'] == losses['last_iou'] == 0
    # Real IoUs are 0: the mean of 0.1, 0.9 and 0.5 squared, then twice 0.1 squared.
    expected = (1.07 / 3 + 2 * 0.01) / 3
    assert losses['loss_iou'].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('weight', [0, 20])
def test_loss_of_masks(weight):
    truth = torch.from_numpy(draw_masks(2)).bool()
    logits = torch.randn(2, SIZE, SIZE)
    training = PromptTraining(corrections=0, refinements=0, focal_weight=weight)
    losses = training.run_rounds(training.draw_boxes(truth), Decoder(logits), truth)
    focal, dice = (f(logits, truth.float()).mean() for f in (focal_loss, dice_loss))
    expected = (weight * focal + dice).item()
    assert losses['loss_mask'].item() == pytest.approx(expected, rel=1e-5)


def test_rounds_from_a_box():
    torch.manual_seed(0)
    truth = torch.from_numpy(draw_masks(2)).bool()
    decoder = Decoder(torch.full((2, 16, 16), 1.0))
    training = PromptTraining(corrections=1, refinements=2, box_noise=0.0)
    losses = training.run_rounds(training.draw_boxes(truth), decoder, truth)
    assert decoder.multimask == [False] * 4
    boxes = find_boxes(truth)
    assert all(torch.equal(prompts.boxes, boxes) for prompts in decoder.asked)
    assert decoder.asked[0].points is None
    # One point in all; all is taken for the object, so that it is outside.
    assert decoder.asked[-1].labels.tolist() == [[0], [0]]
    assert losses['last_iou'].item() == pytest.approx(20 * 14 / SIZE**2)


def test_the_best_of_three_masks_learns():
    truth = torch.from_numpy(draw_masks(1)).bool()
    small = torch.nn.functional.avg_pool2d(truth.float(), 4)
    decoder = Decoder(8 * (2 * small - 1))
    training = PromptTraining(corrections=0, refinements=0)
    kept = {}

    def decode(*args, **kwargs):
        logits, ious = decoder(*args, **kwargs)
        logits = logits * torch.tensor([-1.0, 0.0, 1.0])[:, None, None]
        logits.retain_grad()
        kept['logits'] = logits
        return logits, ious

    training.run_rounds(training.draw_points(truth), decode, truth)[
        'loss_mask'
    ].backward()
    assert kept['logits'].grad[0].abs().amax((1, 2)).gt(0).tolist() == [
        False,
        False,
        True,
    ]


def test_plans_of_rounds():
    torch.manual_seed(0)
    default = PromptTraining().plan_rounds()
    assert len(default) == 10
    assert sum(default) == 8 and not default[-1]
    plans = [
        PromptTraining(corrections=(1, 3), refinements=0).plan_rounds()
        for _ in range(60)
    ]
    assert {len(plan) for plan in plans} == {1, 2, 3}
    assert all(all(plan) for plan in plans)
    within = [PromptTraining(corrections=2).plan_rounds() for _ in range(60)]
    assert {plan.index(False) for plan in within} == {0, 1, 2}


@pytest.mark.parametrize(
    ('setting', 'text'),
    [
        (dict(corrections=(3, 1)), r'train_cfg.corrections=\(3, 1\) .* the least and'),
        (dict(objects_per_image=0), 'train_cfg.objects_per_image=0 .* above 0'),
        (dict(innermost=2.0), 'train_cfg.innermost=2.0 .* from 0 to 1'),
        (dict(refinements=-1), 'train_cfg.refinements=-1 .* from 0 on'),
        (dict(focal_weight=-1), 'train_cfg.focal_weight=-1 .* from 0 on'),
    ],
)
def test_settings_out_of_range(setting, text):
    with pytest.raises(UserError, match=text):
        build(train_cfg=setting)


# ------------------------------------------------------------- the model


def test_gradients_reach_every_part():
    model = build()
    losses = losses_of(model, make_batch(3, 4))
    assert set(losses) == {'loss_mask', 'loss_iou', 'first_iou', 'last_iou'}
    sum(losses[name] for name in ('loss_mask', 'loss_iou')).backward()
    without = {n for n, p in model.named_parameters() if p.grad is None}
    # Softmax over the places cancels what the bias of keys adds to all of them.
    assert all(n.endswith('token_to_image.k_proj.bias') for n in without)
    for part in ('backbone', 'neck', 'prompt_encoder', 'mask_decoder'):
        parameters = getattr(model, part).parameters()
        assert any(p.grad is not None and p.grad.any() for p in parameters), part


def test_only_the_decoder_is_trained():
    model = build(frozen_encoder=True).train()
    assert not model.backbone.training and not model.neck.training
    assert model.mask_decoder.training
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    losses_of(model, make_batch(3, 4))['loss_mask'].backward()
    optimizer.step()
    for name, value in model.state_dict().items():
        encoder = name.startswith(('backbone.', 'neck.'))
        assert not encoder or torch.equal(value, before[name]), name
    assert not torch.equal(
        model.mask_decoder.iou_token.weight, before['mask_decoder.iou_token.weight']
    )


def test_objects_are_drawn_and_those_that_vanished_are_not():
    model = build(train_cfg=dict(objects_per_image=2))
    masks = draw_masks(4, 48, SIZE)
    masks[1:3] = 0
    drawn = model._draw_objects(make_sample(masks))
    assert drawn.shape == (2, SIZE, SIZE)
    assert sorted(drawn.sum((1, 2)).tolist()) == sorted(
        masks[[0, 3]].sum((1, 2)).tolist()
    )
    assert not drawn[:, 48:].any()


def test_a_batch_without_objects_has_no_loss_but_gradients():
    """Other processes wait for those of every parameter."""
    model = build()
    batch = make_batch(0, 1)
    batch['data_samples'][1].gt_instances.masks.masks[:] = 0
    loss = losses_of(model, batch)['loss_mask']
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_an_image_without_objects_beside_others():
    losses = losses_of(build(), make_batch(0, 2))
    assert all(value.isfinite() for value in losses.values())


def test_the_same_seed_gives_the_same_losses():
    model, batch = build(), make_batch(3, 4)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(losses_of(model, batch)['loss_mask'].item())
    assert runs[0] == runs[1] != runs[2]


# ------------------------------------------------------------- tests


@torch.no_grad()
def test_prompted_masks_equal_those_of_the_packages_predictor():
    """An image in its own size: what a user of SAM does with box and clicks."""
    from segment_anything import SamPredictor
    from segment_anything.modeling import Sam

    # The package's own decoder is the test's; sizes are those of the encoder.
    model = tiny_sam.build()
    size = model.image_size
    image = tiny_sam.draw_image(96, size)
    masks = draw_masks(2, 96, size)
    batch = dict(
        inputs=[torch.from_numpy(image).permute(2, 0, 1)],
        data_samples=[make_sample(masks)],
    )
    (sample,) = model.test_step(batch)

    class Encoder(torch.nn.Module):
        img_size = size

        def forward(self, x):
            return model.extract_feat(x)

    mean, std = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    sam = Sam(Encoder(), model.prompt_encoder, model.mask_decoder, mean, std)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    truth = torch.from_numpy(masks).bool()
    points, _ = innermost_points(truth)
    for number, box in enumerate(find_boxes(truth).numpy()):
        expected, ious, _ = predictor.predict(box=box, multimask_output=False)
        assert_alike(sample.prompted_masks['box'][number], expected[0])
        assert sample.pred_instances.scores[number].item() == pytest.approx(
            float(ious[0]), abs=1e-3
        )
        coords, labels, low = points[number : number + 1].numpy(), np.ones(1), None
        for clicks in range(1, 4):
            found, ious, logits = predictor.predict(
                coords, labels, mask_input=low, multimask_output=clicks == 1
            )
            best = ious.argmax()
            name = f'{clicks}_click' + 's' * (clicks > 1)
            if name in sample.prompted_masks:
                assert_alike(sample.prompted_masks[name][number], found[best])
            low = logits[best][None]
            point, label = next_click(found[best], masks[number].astype(bool))
            coords = np.concatenate([coords, point[None]])
            labels = np.append(labels, label)


def next_click(mask, truth):
    """By hand: the deepest point of what was missed, or of what was too much."""
    (missed, excess), depths = innermost_points(
        torch.from_numpy(np.stack([truth & ~mask, mask & ~truth]))
    )
    inside = depths[0] >= depths[1]
    return (missed if inside else excess).numpy(), int(inside)


def assert_alike(mask, expected):
    """But for a few pixels, whose logits are next to 0."""
    assert (mask.numpy() != expected).mean() < 1e-3


@torch.no_grad()
def test_clicks_at_another_scale():
    """Prompts are in pixels of the encoder's input, masks in those of the truth."""
    truth = torch.from_numpy(draw_masks(2, 32, 32)).bool()
    decoder = Decoder(torch.full((2, 16, 16), -1.0))
    masks, ious = predict_prompted(
        decoder,
        lambda logits: torch.nn.functional.interpolate(logits, (32, 32)),
        truth,
        (2.0, 2.0),
        clicks=(2,),
    )
    assert {name: mask.shape for name, mask in masks.items()} == {
        'box': (2, 32, 32),
        '2_clicks': (2, 32, 32),
    }
    box, *clicks = decoder.asked
    assert torch.equal(box.boxes, 2 * find_boxes(truth))
    points, _ = innermost_points(truth)
    assert torch.equal(clicks[0].points[:, 0], 2 * points)
    # Nothing was found: the innermost point is clicked again.
    assert torch.equal(clicks[1].points[:, 1], 2 * points)
    assert decoder.multimask == [False, True, False]
    assert ious.tolist() == pytest.approx([0.1, 0.1])


@torch.no_grad()
def test_an_image_without_objects_is_tested():
    model = build().eval()
    (sample,) = model.test_step(make_batch(0))
    assert set(sample.prompted_masks) == {'box', '1_click', '3_clicks', '5_clicks'}
    assert all(m.shape == (0, SIZE, SIZE) for m in sample.prompted_masks.values())
    assert len(sample.pred_instances) == 0
