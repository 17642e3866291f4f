"""Importing this module applies all patches: the name for ``custom_imports``."""

from mmrapidnet.compat import apply

apply()
