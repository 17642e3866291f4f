"""Ways to lose a process; registered as a hook for training."""

import os
import signal
import time

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

WAYS = ('killed', 'failing', 'hanging')


def lose(way: str) -> None:
    """End this process in a way, or let it hang."""
    if way == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    if way == 'failing':
        raise RuntimeError('no such luck')
    time.sleep(600)


@HOOKS.register_module()
class LosingHook(Hook):
    """Loses the second process before its second step."""

    def __init__(self, way):
        self.way = way

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if get_rank() == 1 and batch_idx == 1:
            lose(self.way)
