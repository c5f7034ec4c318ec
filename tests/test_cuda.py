"""The CUDA kernels, run on a CPU by an emulator, against the sums that NumPy makes of the same integers; and the way to a GPU.

The emulator is a header of forty lines: a thread of the processor for each thread of the kernel. What it cannot show is speed, and
orders of memory that a GPU allows and a CPU does not. The same sums were found bit for bit on an H100 (see the notebook).
"""
import ctypes, shutil, subprocess
from pathlib import Path

import jax, jax.numpy as jnp, numpy as np
import pytest

from snnlit import cuda
from snnlit.connect import CSR, FixedProb

HERE = Path(__file__).parent
needs_compiler = pytest.mark.skipif(shutil.which('g++') is None, reason='no g++ to compile the emulated kernels')


def pointer(x): return x.ctypes.data_as(ctypes.c_void_p)


def built(folder, text, calls, **numbers):
    "The kernels of `text` as a library; `calls` is C++ that launches them"
    defines = ''.join(f'#define {k} {v}\n' for k, v in numbers.items())
    (folder/'kernels.cpp').write_text(f'#include "{HERE/"emulate.hpp"}"\n{defines}{text}\n{calls}')
    command = ['g++', '-std=c++20', '-O1', '-shared', '-fPIC', '-pthread', 'kernels.cpp', '-o', 'kernels.so']
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return ctypes.CDLL(str(folder/'kernels.so'))


RUN = r'''
extern "C" void run(const u8* s, const int* indices, const int* indptr, const float* w, const float* unit, u64* sums, unsigned across,
                    unsigned down, unsigned threads) {
  launch(across, down, threads, [=] { event_add(s, indices, indptr, w, unit, sums, sums); });
}'''


@needs_compiler
@pytest.mark.parametrize('n, m, prob, batch, one, down', [
    (1003, 57, .3, (), False, 1), (1003, 57, .3, (), False, 3), (2100, 31, .05, (), True, 2), (700, 40, .2, (2, 2), False, 1),
    (5, 900, .7, (3,), False, 4), (1, 1, 1., (), True, 1)])
def test_event_add(tmp_path, n, m, prob, batch, one, down):
    "Rows longer than a warp takes at once, segments that end early, batches that cross segments, one weight and many"
    conn, rng = FixedProb(prob, seed=2)(n, m), np.random.default_rng(n)
    w, s = rng.normal(size=1 if one else conn.nnz).astype(np.float32), rng.random((*batch, n)) < .1
    s[..., -1] = True
    unit = np.asarray(cuda.fixed_unit(jnp.array(w), conn.nnz)).reshape(1)
    library = built(tmp_path, cuda.EVENT_ADD, RUN, SENDERS=n, ROWS=s.size, RECEIVERS=m, ONE_WEIGHT=int(one))
    sums = np.zeros((*batch, m), np.int64)
    parts = [np.ascontiguousarray(x) for x in (s, np.asarray(conn.indices), np.asarray(conn.indptr), w, unit)]
    library.run(*map(pointer, parts), pointer(sums), -(-s.size//1024), down, 64)
    np.testing.assert_array_equal(sums, cuda.fixed_sums(s, conn.indices, conn.indptr, w, m))


@needs_compiler
def test_finish(tmp_path):
    "Sums of either sign, also beyond 32 bits, back to floats with one rounding"
    sums = np.array([0, 1, -1, 2**40 + 1, -2**45, 2**62], np.int64)
    acc, unit, out = np.arange(6, dtype=np.float32), np.array([2.**-20], np.float32), np.zeros(6, np.float32)
    calls = 'extern "C" void run(const float* a, const u64* s, const float* u, float* o) { launch(2, 1, 4, [=] { finish(a, s, u, o); }); }'
    built(tmp_path, cuda.FINISH, calls, SIZE=6).run(*map(pointer, (acc, sums, unit, out)))
    np.testing.assert_array_equal(out, acc + sums.astype(np.float32)*unit)


def test_no_sum_can_overflow():
    "Even where every synapse has the largest weight and all meet in one neuron"
    for terms in (1, 80, 10**6, 2**31 - 1):
        for top in (1e-30, .3, 1., 1.5, 3e30):
            unit = np.float64(cuda.fixed_unit(jnp.full(3, top, jnp.float32), terms))
            assert terms*np.rint(np.float64(np.float32(top))/unit) <= 2**62


def test_where_it_runs(monkeypatch):
    "Only for what it can do; and without NVRTC there is one warning"
    conn = CSR.from_dense(np.eye(3, dtype=bool))
    args = jnp.zeros(3), jnp.ones(3, bool), conn.indices, conn.indptr, jnp.ones(3)
    monkeypatch.setattr(cuda, 'usable', lambda: True)
    assert cuda.event_form(*args)
    assert not cuda.event_form(args[0], jnp.ones(3), *args[2:])
    with jax.enable_x64(True): assert not cuda.event_form(jnp.zeros(3, float), *args[1:])
    monkeypatch.undo()
    def missing(): raise ImportError('NVRTC is not installed')
    monkeypatch.setattr(cuda, 'nvrtc', missing)
    cuda.usable.cache_clear()
    with pytest.warns(UserWarning, match='no native GPU kernel'): assert not cuda.usable()
    assert not cuda.usable()  # and silence thereafter
    cuda.usable.cache_clear()
