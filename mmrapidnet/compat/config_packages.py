"""Finds mmsegmentation's configs whatever the package that brings them is called.

Reason:
    mmengine looks for ``mmseg::`` configs in the package mmsegmentation; the fork of
    the OpenMMLab libraries brings mmseg in onedl-mmsegmentation, so that each config
    that builds on one ends with ``mmsegmentation is not installed``.

Condition:
    There is a module mmseg, but no package mmsegmentation.

What it does:
    Lets mmengine look for the module instead, as it does for mmdet.
"""


def apply() -> None:
    """Let mmengine find ``mmseg::`` configs of the fork."""
    from mmengine.config import utils
    from mmengine.utils import is_installed

    if is_installed('mmseg') and not is_installed('mmsegmentation'):
        utils.MODULE2PACKAGE['mmseg'] = 'mmseg'
