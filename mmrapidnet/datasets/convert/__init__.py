"""Published data sets, converted into the layouts that the configs read."""

from mmrapidnet.datasets.convert.camvid import convert_camvid
from mmrapidnet.datasets.convert.nuclei import convert_nuclei
from mmrapidnet.datasets.convert.tiny_imagenet import convert_tiny_imagenet

__all__ = ['convert_camvid', 'convert_nuclei', 'convert_tiny_imagenet']
