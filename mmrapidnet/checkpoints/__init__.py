"""Checkpoint files: safe loading and strict checks of state dicts."""

from mmrapidnet.checkpoints.state_dict import load_pretrained

__all__ = ['load_pretrained']
