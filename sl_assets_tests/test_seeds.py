"""Seeds by name."""

import hashlib
from itertools import product

import pytest

from sl_assets.seeds import seed_for


def test_seed_is_the_head_of_the_names_sha256():
    assert seed_for("numbers", "cat", 3) == int(hashlib.sha256(b"numbers/cat/3").hexdigest()[:8], 16)


def test_seed_stays_the_same_for_good():
    assert seed_for() == 0xE3B0C442


@pytest.mark.parametrize("names", [("a", "b", 2), ("b", "a", 1), ("a", "b"), ("a", "c", 1), ("A", "b", 1)])
def test_every_name_and_their_order_matter(names):
    assert seed_for(*names) != seed_for("a", "b", 1)


def test_seeds_fit_32_bits_and_do_not_collide():
    seeds = {seed_for(name, i) for name, i in product(("x", "y"), range(500))}
    assert len(seeds) == 1000
    assert min(seeds) >= 0
    assert 2**31 < max(seeds) < 2**32
