"""Checkpoint files: safe loading and strict accounting."""

from mmrapidnet.checkpoints.pretrained import load_pretrained

__all__ = ['load_pretrained']
