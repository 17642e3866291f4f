"""From a trained model to a file that runs without PyTorch: fuse, export, run."""

from mmrapidnet.deploy.fuse import fuse, is_fused

__all__ = ['fuse', 'is_fused']
