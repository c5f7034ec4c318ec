"""The CUDA kernel that learns, run on a CPU by the emulator of test_cuda.py, against the loop of the CPU, bit for bit.

No two threads meet at a synapse, and a weight is one sum and two comparisons. So nothing here has a tolerance.
"""
import ctypes, shutil, subprocess
from pathlib import Path

import jax, jax.numpy as jnp, numpy as np
import pytest

from snnlit import cuda, learn
from snnlit.connect import FixedProb
from snnlit.layers import by_columns
from snnlit.learn import LEARN, event_learn, learn_grid

HERE = Path(__file__).parent
needs_compiler = pytest.mark.skipif(shutil.which('g++') is None, reason='no g++ to compile the emulated kernels')
FENCE = 64  # numbers on either side of the weights, which must not change
RUN = '''
extern "C" void run(const u8* fired, const WEIGHT* trace, const int* indices, const int* indptr, const int* order, const WEIGHT* low,
                    const WEIGHT* high, WEIGHT* weight, unsigned across, unsigned down, unsigned threads) {
  launch(across, down, threads, [=] { learn(fired, trace, indices, indptr, order, low, high, weight, weight); });
}'''


def pointer(x): return x.ctypes.data_as(ctypes.c_void_p)


def emulated(folder, weight, fired, trace, indices, indptr, order, low, high, down=None, threads=64):
    "`learn.learn_cuda`, by the emulator, which runs fewer threads than a GPU; `down` blocks share a row"
    grid, numbers = learn_grid(weight, fired, trace, indices, order)
    defines = ''.join(f'#define {k} {v}\n' for k, v in (numbers | dict(THREADS=threads, SHARE=min(numbers['SHARE'], threads//32))).items())
    (folder/'learn.cpp').write_text(f'#include "{HERE/"emulate.hpp"}"\n{defines}{LEARN}\n{RUN}')
    command = ['g++', '-std=c++20', '-O1', '-shared', '-fPIC', '-pthread', 'learn.cpp', '-o', 'learn.so']
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    room = np.full(weight.size + 2*FENCE, 77, weight.dtype)
    room[FENCE:FENCE + weight.size] = weight.ravel()
    parts = [np.ascontiguousarray(x) for x in (fired, trace, indices, indptr, order, np.array([low], weight.dtype), np.array([high], weight.dtype))]
    ctypes.CDLL(str(folder/'learn.so')).run(*map(pointer, parts), pointer(room[FENCE:]), grid[0], down or grid[1], threads)
    assert (room[:FENCE] == 77).all() and (room[FENCE + weight.size:] == 77).all()
    return room[FENCE:FENCE + weight.size].reshape(weight.shape)


def case(n, m, prob, batch, order, dtype, fire=.1):
    "By rows, by the columns of the pattern, or by rows whose weights lie in any order; some weights begin out of bounds"
    conn, rng = FixedProb(prob, seed=2)(n, m), np.random.default_rng(n)
    places = np.zeros(0, np.int32)
    if order == 'columns': conn, places = by_columns(conn)
    if order == 'shuffled': places = rng.permutation(conn.nnz).astype(np.int32)
    weight, trace = (rng.normal(size=(*batch, size)).astype(dtype) for size in (conn.nnz, conn.num_post))
    fired = rng.random((*batch, conn.num_pre)) < fire
    fired[..., -1] = True
    return weight, fired, trace, *(np.asarray(x) for x in (conn.indices, conn.indptr, places))


@needs_compiler
@pytest.mark.parametrize('n, m, prob, batch, order, bounds, down, dtype', [
    (1003, 57, .3, (), 'rows', (-.5, .75), None, np.float32), (1003, 57, .3, (), 'columns', (-.5, .75), 3, np.float32),
    (2100, 31, .05, (), 'columns', (-np.inf, np.inf), 1, np.float64), (700, 40, .2, (2, 2), 'shuffled', (0., np.inf), 1, np.float32),
    (5, 900, .7, (3,), 'rows', (-np.inf, .1), 4, np.float64), (5, 900, .7, (3,), 'columns', (-1., 1.), None, np.float32),
    (1, 1, 1., (), 'shuffled', (0., 1.), None, np.float32), (6, 5000, .9, (), 'shuffled', (-1., 1.), None, np.float32)])
def test_same_bits(tmp_path, n, m, prob, batch, order, bounds, down, dtype):
    "Rows longer than a warp takes at once, segments that end early, batches that cross segments, each kind of order, both kinds of floats"
    with jax.enable_x64(dtype == np.float64):
        weight, fired, trace, indices, indptr, places = args = case(n, m, prob, batch, order, dtype)
        got = emulated(tmp_path, *args, *bounds, down)
        for form in ('auto', 'reference'):
            want = event_learn(jnp.asarray(weight), fired, trace, indices, indptr, places if places.size else None, *bounds, form=form)
            np.testing.assert_array_equal(got.view(np.uint8), np.asarray(want).view(np.uint8))
        learns = np.empty(weight.shape, bool)
        learns[..., places if places.size else slice(None)] = np.repeat(fired, np.diff(indptr), -1)
        assert (got[~learns] == weight[~learns]).all() and (got[learns] != weight[learns]).any()
        assert (got[learns] >= bounds[0]).all() and (got[learns] <= bounds[1]).all()


@needs_compiler
@pytest.mark.parametrize('fire', [0., 1.])
def test_nobody_and_everybody(tmp_path, fire):
    weight, fired, trace, indices, indptr, places = case(1500, 40, .1, (), 'columns', np.float32, fire)
    fired[-1] = fire
    got = emulated(tmp_path, weight, fired, trace, indices, indptr, places, -9., 9.)
    learnt = weight.copy()
    learnt[places] += trace[indices]
    np.testing.assert_array_equal(got, learnt if fire else weight)


def test_where_it_runs(monkeypatch):
    "On a GPU the kernel runs where it can, and plain JAX where there is no NVRTC or no synapse"
    args = [jnp.asarray(x) for x in case(20, 30, .3, (), 'columns', np.float32)] + [jnp.float32(0), jnp.float32(1)]
    sent = []
    def launch(text, name, results, operands, grid, in_place, threads):
        sent.append((name, grid, in_place, threads, [x.shape for x in operands]))
        return operands[7]
    monkeypatch.setattr(learn, 'launch', launch)
    monkeypatch.setattr(learn, 'usable', lambda: True)
    assert learn.learn_gpu(*args) is args[0]
    nnz = args[0].size
    assert sent == [('learn', (1, 1), {7: 0}, cuda.THREADS, [args[1].shape, args[2].shape, (nnz,), args[4].shape, (nnz,), (1,), (1,), (nnz,)])]
    empty = [x[:0] if k in (0, 3, 5) else jnp.zeros_like(x) if k == 4 else x for k, x in enumerate(args)]
    assert learn.learn_gpu(*empty).size == 0 and len(sent) == 1
    monkeypatch.setattr(learn, 'usable', lambda: False)
    np.testing.assert_array_equal(learn.learn_gpu(*args), event_learn(*args))
    assert len(sent) == 1
    monkeypatch.setattr(learn, 'kernel_target', lambda *_: None)  # nor Numba
    np.testing.assert_array_equal(learn.learn_cpu(*args), event_learn(*args))
    in_batch = learn_grid(*(jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in (
        ((3, 10**6), np.float64), ((3, 1000), bool), ((3, 50), np.float64), ((10**6,), np.int32), ((10**6,), np.int32))))
    assert in_batch[0] == (3, 8) and in_batch[1]['WEIGHT'] == 'double' and in_batch[1]['ORDERED'] == 1
