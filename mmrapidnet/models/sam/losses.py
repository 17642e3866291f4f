"""The losses of SAM (arXiv 2304.02643, appendix A), for each mask by itself."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def mask_losses(logits: Tensor, targets: Tensor, focal_weight: float = 20.0) -> Tensor:
    """The weighted focal loss and once the dice loss of each mask.

    Args:
        logits: (..., H, W).
        targets: What of each pixel is inside of the object, 0 to 1, in the same shape
            or one that broadcasts.
        focal_weight: Of the focal loss. Defaults to 20, as SAM has it.

    Returns:
        (...).
    """
    targets = targets.expand_as(logits)
    return focal_weight * focal_loss(logits, targets) + dice_loss(logits, targets)


def focal_loss(
    logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss (arXiv 1708.02002), the mean over the pixels.

    Of a pixel that is inside in part it is the cross entropy times its error to the
    power of gamma, which is the same for one that is wholly inside or outside.

    Args:
        logits: (..., H, W).
        targets: The same shape, 0 to 1.
        alpha: Weight of the inside, 1 - alpha that of the outside. Defaults to 0.25.
        gamma: The power. Defaults to 2.

    Returns:
        (...).

    Examples:
        >>> import torch
        >>> focal_loss(torch.zeros(1, 2, 2), torch.ones(1, 2, 2))
        tensor([0.0433])
    """
    entropy = binary_cross_entropy_with_logits(logits, targets, reduction='none')
    errors = (logits.sigmoid() - targets).abs()
    weights = (1 - alpha) + (2 * alpha - 1) * targets
    return (weights * errors**gamma * entropy).mean((-2, -1))


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice loss (arXiv 1606.04797); 1 is added to both parts of the fraction.

    Args:
        logits: (..., H, W).
        targets: The same shape, 0 to 1.

    Returns:
        (...).

    Examples:
        >>> import torch
        >>> dice_loss(torch.zeros(1, 2, 2), torch.ones(1, 2, 2))  # 1 - 5 / 7
        tensor([0.2857])
    """
    inside = logits.sigmoid()
    common = (inside * targets).sum((-2, -1))
    total = inside.sum((-2, -1)) + targets.sum((-2, -1))
    return 1 - (2 * common + 1) / (total + 1)


def mask_ious(masks: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of masks.

    Args:
        masks: (..., H, W), bool.
        truth: The same shape, or one that broadcasts, bool.

    Returns:
        (...); 0 if both are empty.

    Examples:
        >>> import torch
        >>> a, b = torch.tensor([[[True, True, False]], [[False, True, True]]])
        >>> mask_ious(a, b)
        tensor(0.3333)
    """
    common = (masks & truth).sum((-2, -1))
    union = (masks | truth).sum((-2, -1))
    return common / union.clamp(min=1)
