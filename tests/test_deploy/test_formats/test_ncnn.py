"""ncnn: its three files, and half precision."""

from helpers.exported_files import ODD, difference, make_graph, picture

from mmrapidnet.deploy.formats import open_session


def test_ncnn_file(write):
    """Names of our own, layers of ncnn's own, and nothing else beside."""
    path = write('dense', 'ncnn', size=ODD)
    stem = path.name.removesuffix('.param')
    assert sorted(p.name for p in path.parent.glob(f'{stem}*')) == [
        f'{stem}.bin',
        f'{stem}.json',
        f'{stem}.param',
    ]
    layers = [line.split() for line in path.read_text().splitlines()[2:]]
    assert all(layer[0].isalnum() for layer in layers)
    assert layers[0][0] == 'Input' and layers[0][4] == 'image'
    blobs = {blob for layer in layers for blob in layer}
    assert blobs >= set(make_graph('dense').outputs)


def test_ncnn_fp16(write):
    path = write('pyramid', 'ncnn', 'fp16')
    full = write('pyramid', 'ncnn')
    found = difference(open_session(path, threads=1), 'pyramid', picture(*ODD))
    assert 1e-6 < found < 5e-3
    sizes = [p.with_suffix('.bin').stat().st_size for p in (path, full)]
    assert sizes[0] < 0.7 * sizes[1]
