"""Layers on eight emulated devices against the matrices that they are, and where it is shorter against the same layers on one.

The number of devices must be set before JAX starts, so all checks run in one other Python: this file, as a script.
Weights and inputs are small multiples of 1/8, whose sums are exact in float32 in any order: results must agree bit for bit.
Programs are compiled without optimisation, which halves the time; those of the notebook are optimised.
"""
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

CHECKS = {}


def check(f):
    CHECKS[f.__name__] = f
    return f


@pytest.fixture(scope='module')
def verdicts():
    flags = {'XLA_FLAGS': '--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0', 'JAX_PLATFORMS': 'cpu',
             'PYTHONPATH': os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get('PYTHONPATH', '')])}
    run = subprocess.run([sys.executable, __file__], env=os.environ | flags, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def eighths(seed, *shape): return (np.random.default_rng(seed).integers(-16, 17, shape)/8).astype(np.float32)


@cache
def forms(pre, post):
    "A layer of each form, by name"
    conn, fan, back = FixedProb(.2, seed=5)(pre, post), FixedFanOut(4, seed=6)(pre, post), FixedProb(.2, seed=7)(post, pre)
    twice = CSR.from_pairs([1, 1, 0, 1], [2, 2, 0, post - 1], pre, post, multapses=True)
    W, w = eighths(1, pre, post), eighths(2, conn.nnz)
    return {
        'Dense': Dense(pre, post, W, eighths(3, post)), 'Dense without bias': Dense(pre, post, W, None),
        'AllToAll, one weight': AllToAll(pre, post, .5), 'AllToAll, one weight, others': AllToAll(pre, post, .5, False),
        'AllToAll': AllToAll(pre, post, W), 'AllToAll, others': AllToAll(pre, post, W, False),
        'OneToOne': OneToOne(post, W[0]), 'OneToOne, one weight': OneToOne(post, .5),
        'MaskedLinear': MaskedLinear(conn, W), 'MaskedLinear, mask_fun': MaskedLinear(conn, .5, jnp.negative),
        'CSRLinear': CSRLinear(conn, w), 'CSRLinear, one weight': CSRLinear(conn, [.5]), 'CSRLinear, multapses': CSRLinear(twice, eighths(4, 4)),
        'EventCSRLinear': EventCSRLinear(conn, w), 'EventCSRLinear, one weight': EventCSRLinear(conn, .5),
        'EventCSRLinear, portable': EventCSRLinear(conn, w, form='portable'), 'EventCSRLinear, transposed': EventCSRLinear(back, .5, transpose=False),
        'EventCSRLinear, empty': EventCSRLinear(CSR([], np.zeros(pre + 1, int), pre, post), .5),
        'CSCLinear': CSCLinear(conn, w), 'ELLLinear': ELLLinear(fan, eighths(5, fan.nnz)),
        'EventJitFPHomoLinear': EventJitFPHomoLinear(pre, post, .2, .5, seed=1), 'without itself': JitFPHomoLinear(pre, post, .9, .5, seed=2, include_self=False),
        'JitFPHomoLinear, portable': JitFPHomoLinear(pre, post, .2, .5, seed=3, form='portable'),
        'JitFPHomoLinear, transposed': JitFPHomoLinear(post, pre, .2, .5, seed=4, transpose=True)}


def listed(layer):
    "Pre- and post-synaptic neuron of each synapse, in NumPy: lists are of many lengths"
    conn = layer.to_csr()
    return np.repeat(np.arange(conn.num_pre), np.diff(conn.indptr)), np.asarray(conn.indices)


def matrix(layer):
    "By SciPy, and bias"
    bias = layer.b if isinstance(layer, Dense) and layer.b is not None else 0
    if isinstance(layer, Dense | AllToAll | MaskedLinear): return np.asarray(layer.to_dense()), np.asarray(bias)
    return layer.to_csr().to_scipy(layer.csr_weight()).toarray(), np.asarray(bias)


def answers(layer, x, acc, up):
    "Products, rows, derivatives and batches, in one program"
    product, back = jax.vjp(layer, x)
    return {'product': product, 'events': layer(x > 0), 'add': layer.add(acc, x), 'row': layer.row(3), 'transposed': layer.T(acc),
            'gradient': back(up)[0], 'vmap of grad': jax.vmap(jax.grad(lambda x: (layer(x)*up[0]).sum()))(x)}


def right_answers(W, b, x, acc, up):
    return {'product': x @ W + b, 'events': (x > 0) @ W + b, 'add': acc + x @ W + b, 'row': W[3], 'transposed': acc @ W.T,
            'gradient': up @ W.T, 'vmap of grad': np.tile(up[0] @ W.T, (3, 1))}


@check
def every_form_answers_as_its_matrix():
    wrong = {}
    for name, layer in forms(20, 35).items():
        given = [eighths(k, 3, size) for k, size in enumerate((layer.num_pre, 35, 35))]
        ours, right = jax.jit(answers)(shard(layer, MESH), *given), right_answers(*matrix(layer), *given)
        if differ := [part for part in right if not np.array_equal(ours[part], right[part])]: wrong[name] = differ
    return wrong


@check
def there_and_back():
    wrong = {}
    for name, layer in forms(20, 35).items():
        sharded = shard(layer, MESH)
        back = unshard(sharded)
        kept = same(back, layer) if type(back) is type(layer) and layer.weight.shape != (1,) else True
        weights = np.array_equal(np.ravel(back.csr_weight()), np.ravel(layer.csr_weight()))
        if not (kept and weights and same(back.to_csr(), layer.to_csr())): wrong[name] = str(back)
    layer = forms(20, 35)['EventCSRLinear']
    sharded = shard(layer, MESH)
    for answer in ('to_csr', 'csr_weight', 'to_dense'):  # of one form: they ask `unshard`, as above
        if not same(getattr(sharded, answer)(), getattr(layer, answer)()): wrong[answer] = str(sharded)
    return wrong


@check
def parts_are_what_cut_makes():
    layer = EventCSRLinear(FixedProb(.2, seed=5)(20, 35), .5)
    sharded = shard(layer, MESH)
    return [k for k, own in enumerate(shares(35, 8)) if not same(holds(sharded, k), cut(layer, own))]


@check
def weights_have_the_same_gradient():
    "That of each synapse is what comes in times what goes back; that of one weight for all is their sum"
    wrong = []
    for name, layer in forms(20, 35).items():
        x, up = eighths(1, 3, layer.num_pre), eighths(2, 3, 35)
        def gradient(layer): return jax.grad(lambda w: (put(layer, lambda l: l.weight, w)(x)*up).sum())(layer.weight)
        sharded = shard(layer, MESH)
        ours = jax.jit(gradient)(sharded)
        if ours.ndim: ours = put(sharded, lambda l: l.weight, ours).csr_weight()
        right = (x.T @ up)[listed(layer)]*(-1 if 'mask_fun' in name else 1)
        if not np.array_equal(ours, right if ours.ndim else right.sum()): wrong.append(name)
    return wrong


@check
def all_learn_the_same():
    wrong = []
    for name, layer in forms(20, 35).items():
        n, weight = layer.num_pre, layer.weight
        if weight.size == 1 or not layer.to_csr().nnz: continue
        pre = {'spike': jnp.arange(n) % 3 == 0, 'trace': jnp.linspace(-1., 1., 35)}
        post = {'spike': jnp.arange(35) % 4 == 1, 'trace': jnp.linspace(1., -1., n)}
        sharded = shard(layer, MESH)
        def learn(l): return l.stdp_update(pre, post, -1.5, 1.5), l.T.stdp_update(post, None, w_max=.75).T
        ours, theirs = map(jax.jit(learn), (sharded, layer))
        for mine, other in zip(ours, theirs):
            where = [leaf.sharding for leaf in jax.tree.leaves(mine)] == [leaf.sharding for leaf in jax.tree.leaves(sharded)]
            if not (where and np.array_equal(mine.to_dense(), other.to_dense())): wrong.append(name)
        matrix = layer.weight.ndim == 2 and not isinstance(layer, ELLLinear)
        if matrix and not np.array_equal(unshard(ours[0]).weight, theirs[0].weight): wrong.append(f'{name}, under the mask')
        if name not in ('AllToAll', 'OneToOne', 'EventCSRLinear', 'CSCLinear'): continue  # one of each kind of cut: eager steps take long
        eager = sharded.stdp_update(pre, w_min=0.)
        if eager.weight.sharding != sharded.weight.sharding: wrong.append(name)
    return wrong


@check
def results_lie_on_the_devices_of_their_neurons():
    "Where the shares are even, nothing that a layer returns is gathered"
    wrong, layers = [], forms(20, 40)
    for name in ('Dense', 'OneToOne', 'MaskedLinear', 'EventCSRLinear', 'CSCLinear'):
        layer = layers[name]
        sharded = shard(layer, MESH)
        x = jnp.ones((2, layer.num_pre))
        y, w = sharded(x), jax.jit(jax.grad(lambda l, x: l(x).sum(), allow_int=True))(sharded, x).weight
        if y.sharding.spec != PartitionSpec(None, 'post') or w.sharding != sharded.weight.sharding: wrong.append(name)
        if [each.data.shape for each in y.addressable_shards] != [(2, 5)]*8: wrong.append(name)
    return wrong


@check
def each_device_holds_its_own_and_no_more():
    wrong = {}
    for name, layer in forms(40, 80).items():
        if isinstance(layer, JustInTime): continue  # holds a table, everywhere the same
        sharded = shard(layer, MESH)
        held = [sum(leaf.addressable_shards[k].data.nbytes for leaf in jax.tree.leaves(sharded)) for k in range(8)]
        lists, mask = hasattr(sharded.part, 'conn'), name == 'AllToAll, others'  # a mask is made
        degrees = [holds(sharded, k).conn.nnz for k in range(8)] if lists else [0]
        rows = sharded.part.conn.indptr.size//8 if lists else 0
        values = 0 if sharded.weight.ndim == 0 else 4
        most = 4*rows + (4 + values)*max(1, *degrees) + 4 if lists else layer.nbytes/8*(1.25 if mask else 1) + 4
        if held != [sharded.nbytes_each]*8 or held[0] > most: wrong[name] = held[0], most, layer.nbytes
    return wrong


@check
def odd_numbers_of_neurons():
    "One neuron each; fewer than one each; two axes, the second of which holds copies; one device"
    devices, wrong = np.array(jax.devices()), []
    meshes = {8: MESH, 9: Mesh(devices, ('post',)), 30: Mesh(devices.reshape(2, 4), ('data', 'post')), 7: Mesh(devices[:1], ('post',))}
    for post, mesh in meshes.items():
        layer = EventCSRLinear(FixedProb(.4, seed=1)(6, post), Normal(), key=jax.random.key(0))
        sharded, x = shard(layer, mesh), jax.random.normal(jax.random.key(1), (6,))
        if not (np.array_equal(sharded(x), layer(x)) and same(unshard(sharded), layer)): wrong.append(post)
    return wrong


@check
def lists_agree_to_the_last_bit_with_any_weights():
    conn, key = FixedProb(.2, seed=5)(200, 320), jax.random.key(0)
    x = jax.random.normal(jax.random.key(1), (4, 200))
    wrong = []
    grown = JitFPNormalLinear(200, 320, .2, .5, .1, seed=5)
    for make in (lambda *args, **kw: grown, CSRLinear, EventCSRLinear, CSCLinear, lambda *args, **kw: EventCSRLinear(*args, form='portable', **kw)):
        layer = make(conn, Normal(), key=key)
        if not np.array_equal(jax.jit(shard(layer, MESH))(x), jax.jit(layer)(x)): wrong.append(type(layer).__name__)
    return wrong


@check
def sweep_of_weights():
    layer = EventCSRLinear(FixedProb(.2, seed=5)(20, 35), Normal(), key=jax.random.key(0))
    def many(layer): return jax.vmap(lambda a: put(layer, lambda l: l.weight, a*layer.weight)(jnp.ones(20, bool)))(jnp.array([.5, 1., 2.]))
    ours, theirs = many(shard(layer, MESH)), many(layer)
    return [] if np.array_equal(ours, theirs) and ours.shape == (3, 35) else str(ours)


@check
def in_place():
    "A sum that the caller gives away is added to where it lies, on each device"
    sharded = shard(EventCSRLinear(FixedProb(.2, seed=5)(20, 40), .5), MESH)
    acc = jax.device_put(jnp.ones(40), NamedSharding(sharded.mesh, PartitionSpec('post')))
    before = [each.data.unsafe_buffer_pointer() for each in acc.addressable_shards]
    after = jax.jit(sharded.add, donate_argnums=0)(acc, jnp.ones(20, bool))
    return [k for k, each in enumerate(after.addressable_shards) if each.data.unsafe_buffer_pointer() != before[k]]


@check
def from_a_rule():
    "The parts that a rule makes are those of its list"
    wrong = []
    for rule in (FixedProb(.2, seed=1), FixedProb(.2, seed=1, include_self=False), FixedFanOut(3, seed=2), FixedFanOut(3, seed=2, multapses=True)):
        layer = EventCSRLinear(rule(20, 35), .5)
        sharded = assemble([EventCSRLinear(conn, .5) for conn in cut_pattern(rule, 20, 35, 8)], 35, MESH)
        if not same(sharded, shard(layer, MESH)): wrong.append(str(rule))
    return wrong


@check
def double_precision():
    with jax.enable_x64(True):
        layer = EventCSRLinear(FixedProb(.2, seed=5)(20, 35), np.arange(1, FixedProb(.2, seed=5)(20, 35).nnz + 1)/7)
        y = shard(layer, MESH)(np.linspace(-1, 1, 20))
        return [] if y.dtype == np.float64 and np.array_equal(y, layer(np.linspace(-1, 1, 20))) else str(y)


@check
def bad_input():
    "What should be said, and is not"
    layer, dense = EventCSRLinear(FixedProb(.2, seed=5)(20, 35), .5), Dense(4, 6, np.ones((4, 6)))
    sharded = shard(layer, MESH)
    said = {
        lambda: shard(layer, 8): 'mesh must be a jax.sharding.Mesh, got int',
        lambda: shard(layer, MESH, 'pre'): "axis must be one of the mesh, 'post', got 'pre'",
        lambda: shard(np.eye(3), MESH): 'needs a layer, or a model with layers, got float64[3, 3]',
        lambda: shard(sharded, MESH): 'is on several devices already',
        lambda: shard(sharded.T, MESH): 'is on several devices already',
        lambda: shard(dense, MESH): "8 devices along 'post' cannot share the 6 post-synaptic neurons of Dense",
        lambda: assemble([layer]*7, 280, MESH): 'needs 8 parts of one kind and size, got 7 of 1',
        lambda: assemble([layer]*7 + [dense], 280, MESH): 'got 8 of 2',
        lambda: assemble([layer]*8, 281, MESH): '8 shares of 281 neurons are of 36, got parts of 35',
        lambda: assemble([layer]*7 + [EventCSRLinear(layer.conn, .6)], 280, MESH): 'one number for all must be the same',
        lambda: sharded(jnp.ones(19)): 'x must have shape (20,)',
        lambda: sharded(jnp.ones(20, int)): 'x must be bool (events), or float32',
        lambda: sharded(True): 'got ()',
        lambda: sharded.add(jnp.zeros((2, 35)), jnp.ones(20)): 'x must have shape (2, 20)',
        lambda: sharded.add(jnp.zeros(40), jnp.ones(20)): 'the accumulator must be float32 of shape (..., 35)',
        lambda: sharded.T(jnp.ones(20)): 'x must have shape (35,)',
        lambda: sharded.row(20): 'i must be below 20, got 20',
        lambda: sharded.stdp_update({'spike': np.ones(20), 'trace': np.ones(35)}): 'needs one weight per synapse',
        lambda: sharded.stdp_update({'spike': np.ones(20), 'trace': np.ones(40)}): 'trace must have shape (35,)',
        lambda: holds(sharded, 8): 'k must be below the number of devices, 8, got 8'}
    heard = [(words, error_of(f)) for f, words in said.items()]
    return [pair for pair in heard if pair[0] not in pair[1]]


@pytest.mark.parametrize('name', CHECKS)
def test_eight_devices(name, verdicts):
    assert verdicts[name] in ([], {}), verdicts[name]


if __name__ == '__main__':
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    from snnlit.connect import CSR, FixedProb
    from snnlit.core import error_of, put, same
    from snnlit.initialize import Normal
    from snnlit.justintime import EventJitFPHomoLinear, JitFPHomoLinear, JitFPNormalLinear, JustInTime
    from snnlit.layers import (AllToAll, CSCLinear, CSRLinear, Dense, ELLLinear, EventCSRLinear, MaskedLinear, OneToOne)
    from snnlit.patterns import FixedFanOut
    from snnlit.shard import assemble, cut, cut_pattern, holds, shard, shares, unshard
    assert jax.device_count() == 8
    MESH = jax.make_mesh((8,), ('post',))
    found = {}
    for name, f in CHECKS.items():
        try: found[name] = f()
        except Exception as error: found[name] = f'{type(error).__name__}: {error}'
    print(json.dumps(found))
