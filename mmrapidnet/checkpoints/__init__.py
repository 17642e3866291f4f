"""Checkpoint files: safe loading and strict accounting."""

from mmrapidnet.checkpoints.state_dict import load_pretrained

__all__ = ['load_pretrained']
