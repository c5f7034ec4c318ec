"""Just-in-time rows as CUDA makes them, run on a CPU by the emulator of test_cuda.py, against the definition of each row.

The texts are compiled with all sizes as variables, so that many can be tried; and one test compiles what `grow_sums` would send to a GPU.
"""
import ctypes, shutil, subprocess
from functools import cache
from pathlib import Path

import jax.numpy as jnp, numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from snnlit import cuda_rows
from snnlit.connect import gap_table, guide_table, spread
from snnlit.cuda_rows import GROW_ADD, GROW_TILES, grow_law, grow_sums
from snnlit.justintime import EventJitFPHomoLinear, EventJitFPNormalLinear, delay_of, pattern_tables

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(shutil.which('g++') is None, reason='no g++ to compile the emulated kernels')

SIZES = 'SENDERS ROWS RECEIVERS SLOTS CHUNK ACROSS ONE_VALUE ONE_DELAY CLEAR'.split()
RUN = r'''
#include <utility>
template <class... A, size_t... I> void call(void (*kernel)(A...), void** p, std::index_sequence<I...>) { kernel((A)p[I]...); }
template <class... A> void start(void (*kernel)(A...), void** p, unsigned across, unsigned down, unsigned threads) {
  launch(across, down, threads, [=] { call(kernel, p, std::index_sequence_for<A...>{}); });
}'''
ENTRY = 'extern "C" void run_NAME(void** p, unsigned across, unsigned down, unsigned threads) { start(NAME, p, across, down, threads); }\n'
FENCE = 64  # numbers on either side of a result, which must not change
TILE = 1024


def pointer(x): return x.ctypes.data_as(ctypes.c_void_p)


def built(folder, text, front=''):
    "The kernels of a text as a library"
    name = 'list_fired grow_tiles' if 'list_fired' in text else 'grow_add'
    entries = ''.join(ENTRY.replace('NAME', each) for each in name.split())
    (folder/'rows.cpp').write_text(f'#include "{HERE/"emulate.hpp"}"\n{front}{text}{RUN}\n{entries}')
    command = ['g++', '-std=c++20', '-O1', '-shared', '-fPIC', '-pthread', 'rows.cpp', '-o', 'rows.so']
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return ctypes.CDLL(str(folder/'rows.so'))


def run(library, name, args, results, grid):
    "Results after the kernel, which must not write beyond them"
    fenced = [np.full(x.size + 2*FENCE, 77, x.dtype) for x in results]
    for room, x in zip(fenced, results): room[FENCE:-FENCE] = x.ravel()
    operands = [np.ascontiguousarray(x) for x in args]
    places = [*map(pointer, operands), *(pointer(room[FENCE:]) for room in fenced)]
    getattr(library, f'run_{name}')((ctypes.c_void_p*len(places))(*places), *grid)
    for room in fenced: assert (room[:FENCE] == 77).all() and (room[-FENCE:] == 77).all()
    return [room[FENCE:-FENCE].reshape(x.shape) for room, x in zip(fenced, results)]


@pytest.fixture(scope='module')
def libraries(tmp_path_factory):
    "For 32 and for 64 bits, for waves of one draw and of four, and for tiles; sizes are variables"
    variables = ''.join(f'extern "C" {{ int {name}_; }}\n#define {name} {name}_\n' for name in SIZES)
    @cache
    def library(text, kind='int', wave=4):
        front = f'#define SUM {kind}\n#define ROUND __float2ll_rn\n#define WAVE {wave}\n#define WEIGHT float\n#define TILE {TILE}\n'
        return built(tmp_path_factory.mktemp('rows'), text, variables + front)
    return library


def case(n, m, prob, batch=(), *, slots=1, one_value=False, one_delay=False, clear=False, first=None, include_self=True, seed=0, fired=9, head=5,
         kind='int', whole=False):
    "Arguments of `grow_law`: a few spikes anywhere, and one of the last sender"
    rng = np.random.default_rng(seed)
    s = np.zeros((*batch, n), bool)
    s.ravel()[[*rng.integers(0, s.size, fired), -1]] = True
    values = rng.normal(size=1 if one_value else 4096).astype(np.float32)
    longest = slots - 1 if clear else slots
    delays = np.zeros(1, np.uint16) if slots == 1 else rng.integers(1, longest + 1, 1 if one_delay else 4096).astype(np.uint16)
    keys = np.array([*spread(seed), *spread(seed + 1), include_self, *(first or ())], np.uint32)
    unit = (2.**-rng.integers(8, 14, batch)).astype(np.float32)
    if whole: values, unit = np.rint(values*100).astype(np.int32), np.float32(1)  # weights that are in units already
    sums = rng.integers(-2**20, 2**20, (*batch, slots*m)).astype(np.int32 if kind == 'int' else np.int64)
    if kind == 'u64': sums <<= 30  # beyond 32 bits
    return dict(sums=sums, s=s, values=values, table=gap_table(prob), keys=keys, delays=delays, head=head, unit=unit, m=m, slots=slots, clear=clear)


def prepared(library, x, prob, across=1):
    "The library with the sizes of a case, and the operands from `values` on"
    sizes = dict(SENDERS=x['s'].shape[-1], ROWS=x['s'].size, RECEIVERS=x['m'], SLOTS=x['slots'], CHUNK=len(x['table']), ACROSS=across,
                 ONE_VALUE=len(x['values']) == 1, ONE_DELAY=len(x['delays']) == 1, CLEAR=x['clear'])
    for name, size in sizes.items(): ctypes.c_int.in_dll(library, f'{name}_').value = int(size)
    return (x['values'], x['table'], guide_table(prob), np.pad(x['keys'], (0, 7 - len(x['keys']))), x['delays'], np.array([x['head']], np.int32),
            x['unit'].reshape(-1), x['sums'])


def added(libraries, spec, prob, *, kind='int', wave=4, down=1):
    "The sums by `grow_add`, from a grid of any shape"
    library = libraries(GROW_ADD, kind, wave)
    rest = prepared(library, spec, prob)
    sums, after = run(library, 'grow_add', (spec['s'], *rest), [spec['sums'], np.zeros(1, np.int32)], (-(-spec['s'].size//1024), down, 64))
    assert after == np.array([spec['head']], np.int32) + 1
    return sums


def tiled(libraries, spec, prob, *, across=16, down=1):
    "The sums by `grow_tiles`"
    library, s, zero = libraries(GROW_TILES), spec['s'], np.zeros(1, np.int32)
    rest = prepared(library, spec, prob, across)
    count, fired = run(library, 'list_fired', (s, zero), [zero, np.zeros(s.size, np.int32)], (-(-s.size//1024), 1, 64))
    assert sorted(fired[:count[0]]) == list(np.flatnonzero(s))
    tiles = -(-spec['m']//TILE) + (len(spec['keys']) > 5)
    sums, after = run(library, 'grow_tiles', (fired, count, *rest), [spec['sums'], np.zeros(1, np.int32)], (tiles, down, 64))
    assert after == np.array([spec['head']], np.int32) + 1
    return sums


sizes = st.sampled_from([(1, 1), (3, 33), (1003, 57), (2100, 31), (40, 1025), (300, 300), (7, 16_385), (2, 40_000)])
probs = st.sampled_from([0., 1e-5, 8e-4, 1e-3, .02, .3, .97, 1.])
parts = st.sampled_from([None, (0, 0), (5, 7), (1000, 1024), (3, 16_400)])
rings = st.sampled_from([(1, True, False), (2, False, True), (2, True, False), (7, False, True), (7, False, False), (64, True, True)])  # slots, one delay, clear


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(data=st.data(), size=sizes, prob=probs, batch=st.sampled_from([(), (1,), (3,), (2, 2)]), first=parts, ring=rings, one_value=st.booleans(),
       include_self=st.booleans(), seed=st.sampled_from([0, 7, 2**64 - 2]), kind=st.sampled_from(['int', 'u64']), wave=st.sampled_from([1, 4]))
def test_every_row(libraries, data, size, prob, batch, first, ring, one_value, include_self, seed, kind, wave):
    "Sizes that cross chunks and segments, all densities, parts, batches, rings, both kinds of sums, grids of any shape"
    slots, one_delay, clear = ring
    head, down = data.draw(st.sampled_from([0, 5, 2**31 - 1])), data.draw(st.sampled_from([1, 2, 3, 40]))
    spec = case(*size, prob, batch, slots=slots, one_value=one_value, one_delay=one_delay, clear=clear, first=first, include_self=include_self,
                 seed=seed, head=head, kind=kind)
    np.testing.assert_array_equal(added(libraries, spec, prob, kind=kind, wave=wave, down=down), grow_law(**spec))


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(data=st.data(), size=sizes.filter(lambda size: size[1] < 40_000), prob=st.sampled_from([.01, .02, .3, .97, 1.]), first=parts,
       ring=rings.filter(lambda ring: ring[1]), one_value=st.booleans(), include_self=st.booleans())
def test_every_tile(libraries, data, size, prob, first, ring, one_value, include_self):
    "Sizes that cross chunks and tiles, and parts that begin within one"
    across, down, fired = data.draw(st.sampled_from([1, 2, 32])), data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0, 20]))
    spec = case(*size, prob, slots=ring[0], one_value=one_value, one_delay=True, clear=ring[2], first=first, include_self=include_self, fired=fired)
    np.testing.assert_array_equal(tiled(libraries, spec, prob, across=across, down=down), grow_law(**spec))


def test_far_out(libraries):
    "A part at the end of the largest matrix that there can be"
    spec = case(5, 40_000, 1e-4, slots=3, first=(2**31 - 6, 2**31 - 40_001), fired=3)
    np.testing.assert_array_equal(added(libraries, spec, 1e-4), grow_law(**spec))


def test_nobody_fired(libraries):
    "Only the slot of this step changes, and only if it is to be emptied"
    for clear in (False, True):
        spec = case(2000, 50, .3, (2,), slots=4, clear=clear)
        spec['s'][:] = False
        np.testing.assert_array_equal(added(libraries, spec, .3, down=2), grow_law(**spec))


@pytest.mark.parametrize('cls, numbers', [(EventJitFPHomoLinear, (.7,)), (EventJitFPNormalLinear, (.2, .4))])
def test_same_synapses_as_the_layer(libraries, cls, numbers):
    "The list of synapses, weights and delays that a layer says it has, added one by one"
    layer, rng, slots, head = cls(400, 300, .05, *numbers, seed=3, include_self=False), np.random.default_rng(0), 6, 8
    conn, delays, s = layer.to_csr(), rng.integers(1, slots + 1, 4096).astype(np.uint16), rng.random(400) < .1
    spec = dict(sums=np.zeros(slots*300, np.int32), s=s, values=np.asarray(layer.values()), table=layer.pattern.table, keys=pattern_tables(layer.pattern)[2],
                 delays=delays, head=head, unit=np.float32([2.**-20]), m=300, slots=slots, clear=False)
    pre, post = np.asarray(conn.sources()), np.asarray(conn.indices)
    delay = np.asarray(delay_of(layer.pair_draws(conn), jnp.asarray(delays)))
    multiples = np.rint(np.asarray(layer.csr_weight(), float)*2**20).astype(int)
    expected = np.zeros((slots, 300), int)
    np.add.at(expected, ((head + delay[s[pre]])%slots, post[s[pre]]), multiples[s[pre]])
    np.testing.assert_array_equal(added(libraries, spec, .05), expected.ravel())


@pytest.mark.parametrize('n, m, prob, batch, kind, options', [
    (1500, 700, .02, (), 'int', dict(slots=5, clear=True)), (40, 300, .5, (3,), 'u64', dict(one_value=True)), (40, 300, .1, (2,), 'int', dict(whole=True)),
    (9, 40_000, 1e-4, (), 'int', dict(slots=3, one_delay=True, first=(2, 5))), (1100, 9000, .3, (), 'int', dict(first=(3, 70))),
    (1100, 9000, .02, (), 'int', dict(slots=4, one_delay=True, clear=True))])
def test_as_it_is_sent(tmp_path, monkeypatch, n, m, prob, batch, kind, options):
    "What `grow_sums` would have compiled and launched: numbers in front, operands, grids, and results in the place of operands"
    spec, names = case(n, m, prob, batch, kind=kind, fired=3, **options), []
    def launch(text, name, results, args, grid, in_place, threads=256):
        names.append(name)
        args = [np.asarray(x) for x in args]
        before = {result: args[operand] for operand, result in in_place.items()}
        start = [before.get(k, np.zeros(x.shape, x.dtype)) for k, x in enumerate(results)]
        assert all(x.shape == y.shape and x.dtype == y.dtype for x, y in zip(start, results))
        (folder := tmp_path/name).mkdir()
        return run(built(folder, text), name, args, start, (*grid, threads))
    monkeypatch.setattr(cuda_rows, 'launch', launch)
    dense = m == 9000
    monkeypatch.setattr(cuda_rows, 'in_tiles', lambda *sizes: dense)
    sums = spec['sums'] if kind == 'int' else spec['sums'].view(np.uint32).reshape(*spec['sums'].shape, 2)
    operands = {name: jnp.asarray(x) for name, x in spec.items() if name not in ('sums', 'm', 'slots', 'clear')}
    found, after = grow_sums(jnp.asarray(sums), guide=jnp.asarray(guide_table(prob)), **operands, m=m, slots=spec['slots'], clear=spec['clear'])
    np.testing.assert_array_equal(found.view(spec['sums'].dtype).reshape(spec['sums'].shape), grow_law(**spec))
    assert after == spec['head'] + 1 and names == (['list_fired', 'grow_tiles'] if dense else ['grow_add'])


def test_batch_of_nobody():
    "There is nothing to launch"
    none = jnp.zeros((0, 3), jnp.int32)
    sums, after = grow_sums(none, jnp.zeros((0, 4), bool), *[None]*5, 7, None, m=3, slots=1)
    assert sums is none and after == 8
