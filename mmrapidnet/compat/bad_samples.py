"""Names the image that spoils a run.

Reason:
    An image that cannot be decoded, or annotations that a transform cannot cope with,
    end a run with the traceback of a data worker, which seldom says of which file.
    Label maps with unknown labels end it in the loss, on a GPU with an assertion of
    CUDA; those of another size than their image are cropped askew without a word.

Condition:
    None: no release does otherwise.

What it does:
    Data sets send their samples through `mmrapidnet.datasets.check.bad_sample`.
"""


def apply() -> None:
    """Let ``BaseDataset`` name the sample that fails."""
    from mmengine.dataset import BaseDataset

    from mmrapidnet.datasets.check.bad_sample import prepare_sample

    BaseDataset.prepare_data = prepare_sample
