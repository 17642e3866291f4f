"""Importing this module applies the mends: the name for ``custom_imports``."""

from mmrapidnet.compat import apply

apply()
