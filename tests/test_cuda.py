"""The CUDA kernels, run on a CPU by an emulator, against the sums that NumPy makes of the same integers; and the way to a GPU.

The emulator is a header of forty lines: a thread of the processor for each thread of the kernel. What it cannot show is speed, and
orders of memory that a GPU allows and a CPU does not. The same sums were found bit for bit on an H100 (see the notebook).
"""
import ctypes, re, shutil, subprocess
from pathlib import Path

import jax, jax.numpy as jnp, numpy as np
import pytest

from snnlit import cuda
from snnlit.connect import CSR, FixedProb
from snnlit.event import FORMS, event_add
from snnlit.learn import event_learn
from snnlit.ring import ring_add, ring_add_all

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


KINDS = {**cuda.SUM_KINDS, 'int64': cuda.INT64}


def emulated(folder, down, share, *lists, groups=None):
    "`cuda.delivered`, by the emulator; each list is `sums, s, conn, w, delay, head, unit, slots`"
    numbers, pointers, results, keep = [], [], [], []
    groups = groups or [[k] for k in range(len(lists))]
    for k, (sums, s, conn, w, delay, head, unit, slots) in enumerate(lists):
        numbers.append(dict(THREADS=64, CHUNK=64, SHARE=share if isinstance(share, int) else share[k], ACROSS=-(-s.size//1024), DOWN=down, SENDERS=s.shape[-1], ROWS=s.size,
                            RECEIVERS=conn.num_post, SLOTS=slots, ONE_WEIGHT=int(w.size == 1), ONE_DELAY=int(delay.size == 1),
                            WEIGHT='int' if w.dtype == np.int32 else 'float', WAIT={1: 'u8', 2: 'u16'}[delay.itemsize], **KINDS[sums.dtype.name]))
        keep += [np.ascontiguousarray(x) for x in (s, np.asarray(conn.indices), np.asarray(conn.indptr), w, delay, np.array([head], np.int32),
                                                   np.array([unit], np.float32))] + [np.zeros(1, np.int32)]
        pointers += [*map(pointer, keep[-8:-1]), pointer(sums)]
        results += [pointer(sums), pointer(keep[-1])]
    args, blocks = pointers + results, sum(numbers[k]['ACROSS']*numbers[k]['DOWN'] for k, *_ in groups)
    calls = f'''
struct Any {{ void* p; template <class T> operator T*() const {{ return (T*)p; }} }};
extern "C" void run(void** p) {{ launch({blocks}, 1, 64, [=] {{ deliver({', '.join(f'Any{{p[{k}]}}' for k in range(len(args)))}); }}); }}'''
    built(folder, cuda.for_all(numbers, groups), calls).run((ctypes.c_void_p*len(args))(*args))
    return [(sums, keep[8*k + 7][0]) for k, (sums, *_) in enumerate(lists)]


@needs_compiler
@pytest.mark.parametrize('n, m, prob, batch, one, down, share', [
    (1003, 57, .3, (), False, 1, 1), (1003, 57, .3, (), False, 3, 2), (2100, 31, .05, (), True, 2, 1), (700, 40, .2, (2, 2), False, 1, 2),
    (5, 900, .7, (3,), False, 4, 1), (1, 1, 1., (), True, 1, 1)])
def test_event_add(tmp_path, n, m, prob, batch, one, down, share):
    "Rows longer than a warp takes at once, segments that end early, batches that cross segments, one weight and many"
    conn, rng = FixedProb(prob, seed=2)(n, m), np.random.default_rng(n)
    w, s = rng.normal(size=1 if one else conn.nnz).astype(np.float32), rng.random((*batch, n)) < .1
    s[..., -1] = True
    unit, none = float(cuda.fixed_unit(jnp.array(w), conn.nnz, 62)), np.zeros(1, np.uint8)
    [(sums, _)] = emulated(tmp_path, down, share, (np.zeros((*batch, m), np.int64), s, conn, w, none, 0, unit, 1))
    np.testing.assert_array_equal(sums, cuda.fixed_sums(s, conn.indices, conn.indptr, w, m))


def ring_list(n, m, prob, batch, one_weight, one_delay, whole, slots, head):
    "Synapses, spikes and a ring with something in it, as `emulated` wants them"
    conn, rng = FixedProb(prob, seed=3)(n, m), np.random.default_rng(n)
    size = 1 if one_weight else conn.nnz
    w = rng.integers(-2**30, 2**30, size).astype(np.int32)//conn.nnz if whole is True else rng.normal(size=size).astype(np.float32)
    delay = rng.integers(1, slots, 1 if one_delay else conn.nnz).astype(np.uint16 if slots > 255 else np.uint8)
    s, shape = rng.random((*batch, n)) < .1, (*batch, slots, m)
    ring = rng.integers(0, 99, shape).astype(np.uint8) if whole == 'bytes' else rng.integers(-99, 99, shape).astype(np.int32)
    unit = 1. if whole is True else float(cuda.fixed_unit(jnp.array(w), conn.nnz))
    return ring, s, conn, w, delay, head, unit, slots


@needs_compiler
@pytest.mark.parametrize('n, m, prob, batch, one_weight, one_delay, whole, slots, head', [
    (1003, 57, .3, (), False, False, False, 9, 0), (1003, 57, .3, (), True, False, False, 300, 10**6), (700, 40, .2, (2, 2), False, True, False, 2, -1),
    (5, 900, .7, (3,), False, False, True, 4, 7), (2100, 31, .05, (), True, True, True, 2, 3),
    (700, 44, .2, (2, 2), True, False, 'bytes', 9, 3), (1003, 56, .1, (3,), True, True, 'bytes', 2, -1)])
def test_ring_add(tmp_path, n, m, prob, batch, one_weight, one_delay, whole, slots, head):
    "The same integers as the operator finds on a CPU, in all slots, with what was there before; the slot of the step is cleared"
    list_of_synapses = ring_list(n, m, prob, batch, one_weight, one_delay, whole, slots, head)
    ring, s, conn, w, delay, _, unit, _ = list_of_synapses
    want, after = map(np.asarray, ring_add(jnp.array(ring), s, conn.indices, conn.indptr, jnp.array(w), jnp.array(delay), head, None if whole is True else unit))
    [(got, then)] = emulated(tmp_path, 2, 2, (ring.copy(), *list_of_synapses[1:]))
    assert after == then == head + 1
    np.testing.assert_array_equal(got, want)
    assert not got[..., head % slots, :].any() and (got != ring).any()


@needs_compiler
def test_many_lists(tmp_path):
    "One kernel for lists of all kinds: of each the same sums as by itself"
    kinds = [(1003, 57, .3, (), False, False, False, 9, 0), (40, 57, .3, (), True, False, False, 300, 10**6),
             (700, 40, .2, (2, 2), False, True, False, 2, -1), (5, 900, .7, (3,), False, False, True, 4, 7),
             (700, 44, .2, (2, 2), True, False, 'bytes', 9, 3)]
    lists = [ring_list(*kind) for kind in kinds]
    together = emulated(tmp_path, 2, 2, *((ring.copy(), *rest) for ring, *rest in lists))
    for k, (each, (got, then)) in enumerate(zip(lists, together)):
        (tmp_path/str(k)).mkdir()
        [(alone, after)] = emulated(tmp_path/str(k), 2, 2, (each[0].copy(), *each[1:]))
        np.testing.assert_array_equal(got, alone)
        assert then == after and (got != each[0]).any()


@needs_compiler
@pytest.mark.parametrize('n, batch, down, share', [(1003, (), 2, (2, 1, 2, 1)), (700, (2, 2), 1, 1), (2100, (), 3, (1, 2, 1, 2))])
def test_lists_with_the_same_spikes(tmp_path, n, batch, down, share):
    "They are looked through once, and each list has the sums that it has by itself; rows may be empty, and there may be more than warps"
    kinds = [(57, .3, False, False, False, 9), (44, .02, True, True, 'bytes', 2), (31, .1, True, False, False, 300)]
    lists = [ring_list(n, m, prob, batch, one_weight, one_delay, whole, slots, 5) for m, prob, one_weight, one_delay, whole, slots in kinds]
    s = lists[0][1]
    s[..., :40] = True
    other = ring_list(50, 20, .5, (), False, False, False, 4, 1)
    lists = [(ring, s, *rest) for ring, _, *rest in lists] + [other]
    together = emulated(tmp_path, down, share, *((ring.copy(), *rest) for ring, *rest in lists), groups=[[0, 2, 1], [3]])
    for ring_of, (got, then) in zip(lists, together):
        ring, s, conn, w, delay, head, unit, slots = ring_of
        want, after = ring_add(jnp.array(ring), s, conn.indices, conn.indptr, jnp.array(w), jnp.array(delay), head, unit)
        np.testing.assert_array_equal(got, want)
        assert then == after and (got != ring).any()


@pytest.mark.parametrize('many', [False, True])
def test_who_has_the_same_spikes(monkeypatch, many):
    "Lists that were given one array, if there are more blocks than `BLOCKS`; what only has the same values is not the same"
    asked = []
    def launched(text, name, results, args, *rest): return asked.append(text) or [jnp.zeros(r.shape, r.dtype) for r in results]
    monkeypatch.setattr(cuda, 'launch', launched)
    monkeypatch.setattr(cuda, 'usable', lambda: True)
    if many: monkeypatch.setattr(cuda, 'BLOCKS', 4)  # of which the long rows of the first list want all
    kinds = [ring_list(8, m, prob, (), False, False, False, 3, 0) for m, prob in ((900, 1.), (4, .5), (4, .5))]
    rest = [(conn.indices, conn.indptr, jnp.array(w), jnp.array(delay), jnp.int32(0), jnp.float32(unit)) for _, _, conn, w, delay, _, unit, _ in kinds]
    @jax.jit
    def run(rings, s, other):
        def step(rings, _): return [r for r, _ in ring_add_all(*((r, x, *more) for r, x, more in zip(rings, (s, other, s), rest)))], None
        return jax.lax.scan(step, rings, length=2)[0]
    rings, s = [jnp.array(ring) for ring, *_ in kinds], kinds[0][1]
    run.trace(rings, jnp.array(s), jnp.array(s)).lower(lowering_platforms=('cuda',))
    [text] = asked
    down = [int(x) for x in re.findall(r'#define DOWN (\d+)', text)]
    assert down[0] > 1 == down[1] and down[2] == (down[0] if many else 1)  # lists that share blocks agree on how many there are
    assert text.count('who_fired(s0') == text.count('who_fired(s1') == 1 and text.count('who_fired(s2') == int(not many)
    assert (text.index('l2.send') < text.index('l1.send')) == many


def test_no_kernel_has_too_many_parameters(monkeypatch):
    "Sixty lists are two kernels, whose results come in the order of the lists"
    asked = []
    def launched(text, name, results, args, *rest): return asked.append(len(args)) or [jnp.full(r.shape, len(asked), r.dtype) for r in results]
    monkeypatch.setattr(cuda, 'launch', launched)
    ring, s, conn, w, delay, head, unit, _ = ring_list(8, 4, .5, (), False, False, False, 3, 0)
    out = cuda.ring_fixed(*[(jnp.array(ring), jnp.array(s), conn.indices, conn.indptr, jnp.array(w), jnp.array(delay), jnp.int32(head), jnp.float32(unit))]*60)
    assert asked == [8*32, 8*28] and len(out) == 120 and all(10*8*(operands//8) <= 4096 for operands in asked)  # ten pointers of eight bytes for each list
    assert [int(x.ravel()[0]) for x in out] == [1]*64 + [2]*56


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
    for bits in (31, 62):
        for terms in (1, 80, 10**6, 2**31 - 1):
            for top in (1e-15, .3, 1., 1.5, 3e15):
                unit = np.float64(cuda.fixed_unit(jnp.full(3, top, jnp.float32), terms, bits))
                assert terms*np.rint(np.float64(np.float32(top))/unit) < 2**bits


def test_where_it_runs(monkeypatch):
    "Only for what it can do; and without NVRTC there is one warning"
    conn = CSR.from_dense(np.eye(3, dtype=bool))
    args = jnp.zeros(3), jnp.ones(3, bool), conn.indices, conn.indptr, jnp.ones(3)
    monkeypatch.setattr(cuda, 'usable', lambda: True)
    assert cuda.event_form(*args)
    assert not cuda.event_form(args[0], jnp.ones(3), *args[2:])
    assert cuda.event_form(jnp.zeros(3, jnp.int32), *args[1:4], jnp.ones(3, jnp.int32))
    with jax.enable_x64(True): assert not cuda.event_form(jnp.zeros(3, float), *args[1:])
    monkeypatch.undo()
    def missing(): raise ImportError('NVRTC is not installed')
    monkeypatch.setattr(cuda, 'nvrtc', missing)
    cuda.usable.cache_clear()
    with pytest.warns(UserWarning, match='no native GPU kernel'): assert not cuda.usable()
    assert not cuda.usable()  # and silence thereafter
    cuda.usable.cache_clear()
    monkeypatch.setattr(cuda, 'nvrtc', lambda: None)
    monkeypatch.setattr(cuda, 'driver_version', lambda: 9020)
    with pytest.warns(UserWarning, match='the driver knows CUDA 9.02'): assert not cuda.usable()
    cuda.usable.cache_clear()


@pytest.mark.parametrize('form', FORMS)
def test_batch_of_nobody(form):
    "A batch without members is left as it is, and no kernel is asked for"
    conn, w = CSR.from_dense(np.ones((2, 3), bool)), jnp.ones(6)
    acc, s = jnp.zeros((0, 3)), jnp.zeros((0, 2), bool)
    assert event_add(acc, s, conn.indices, conn.indptr, w, form=form).shape == acc.shape
    ring, after = ring_add(jnp.zeros((0, 4, 3)), s, conn.indices, conn.indptr, w, jnp.ones(1, jnp.uint8), 7, form=form)
    assert ring.shape == (0, 4, 3) and after == 8
    assert event_learn(jnp.zeros((0, 6)), s, acc, conn.indices, conn.indptr, form=form).shape == (0, 6)
    assert not cuda.event_form(acc, s, conn.indices, conn.indptr, w)
    assert not cuda.ring_form(jnp.zeros((0, 4, 3), jnp.int32), s, conn.indices, *[None]*5)
