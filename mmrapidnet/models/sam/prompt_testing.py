"""What a user's prompts give: the box of an object, or clicks one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmrapidnet.models.sam.image_decoder import ImageDecoder
from mmrapidnet.models.sam.prompt_training import Prompts, choose_best
from mmrapidnet.models.sam.prompts import (
    INSIDE,
    corrective_points,
    find_boxes,
    innermost_points,
)

CLICKS = (1, 3, 5)
# Objects at a time: their masks are as large as the image.
CHUNK = 16


def predict_prompted(
    decoder: ImageDecoder,
    upscale: Callable[[Tensor], Tensor],
    truth: Tensor,
    scale: Sequence[float],
    clicks: Sequence[int] = CLICKS,
) -> tuple[dict[str, Tensor], Tensor]:
    """Segment each object of an image from prompts that are made of its own mask.

    A box is that of the mask and gives one mask.  The first click is the mask's
    innermost point and gives three masks, of which the one counts that the model
    expects most of.  Each further one is the innermost point of the larger of the two
    regions that the last mask missed and had too much, and that mask, in logits, is a
    prompt as well.

    Args:
        decoder: The image's.
        upscale: Brings logits (N, 1, h, w) to the size of the truth.
        truth: Masks of the objects, (N, H, W), bool.
        scale: Width and height of the encoder's input by those of the truth.
        clicks: After how many to look at the masks. Defaults to 1, 3 and 5.

    Returns:
        Masks, (N, H, W), bool, by their prompts: 'box', '1_click', '3_clicks'...; and
        the IoU that the model expects of the box's, (N,).
    """
    scale = truth.new_tensor(scale, dtype=torch.float32)
    parts = [
        _predict(decoder, upscale, part, scale, clicks) for part in truth.split(CHUNK)
    ]
    masks = {name: torch.cat([part[0][name] for part in parts]) for name in parts[0][0]}
    return masks, torch.cat([part[1] for part in parts])


def _predict(
    decoder: ImageDecoder,
    upscale: Callable[[Tensor], Tensor],
    truth: Tensor,
    scale: Tensor,
    clicks: Sequence[int],
) -> tuple[dict[str, Tensor], Tensor]:
    boxes = find_boxes(truth) * scale.repeat(2)
    logits, ious = Prompts(boxes=boxes).decode(decoder)
    masks = dict(box=upscale(logits).squeeze(1) > 0)
    points, _ = innermost_points(truth)
    labels = torch.full((len(points),), INSIDE, device=points.device)
    prompts = Prompts()
    for number in range(1, max(clicks) + 1):
        prompts = prompts.add_points(points * scale, labels)
        best = choose_best(*prompts.decode(decoder))
        mask = upscale(best).squeeze(1) > 0
        if number in clicks:
            masks[f'{number}_click' + 's' * (number > 1)] = mask
        points, labels = corrective_points(mask, truth, innermost=1.0)
        prompts = replace(prompts, masks=best)
    return masks, ious[:, 0]
