import jax
import numpy as np
import pytest

import lrsched


def test_constant_has_a_length_only_where_one_is_given():
    assert lrsched.constant(0.1).horizon is None
    assert lrsched.constant(0.1, steps=5).horizon == 5
    assert np.all(lrsched.constant(0.1, steps=5)(np.arange(9)) == np.float32(0.1))


def test_the_boundary_has_the_new_value():
    schedule = lrsched.piecewise_constant([0.1, 0.2, 0.4], [3, 7])
    assert schedule([2, 3, 6, 7]).tolist() == np.float32([0.1, 0.2, 0.2, 0.4]).tolist()
    assert schedule.horizon == 7


def test_no_boundaries_is_a_constant():
    assert lrsched.piecewise_constant([0.5], [])([0, 9]).tolist() == [0.5, 0.5]
    assert lrsched.piecewise_constant([0.5], []).horizon == 0


def test_the_program_has_one_size_for_any_number_of_pieces():
    def size(pieces):
        schedule = lrsched.piecewise_constant(np.linspace(1, 0, pieces + 1), range(pieces))
        program = jax.jit(lambda s, t: s(t)).lower(schedule, 3)
        return len(program.as_text().splitlines())

    assert size(10) == size(400) < 200


def test_a_table_is_what_it_was_made_of():
    rates = np.float32([0.3, 0.1, 0.2])
    schedule = lrsched.table(rates)
    np.testing.assert_array_equal(schedule(np.arange(5)), rates[[0, 1, 2, 2, 2]])
    np.testing.assert_array_equal(schedule(np.float32([0.9, 1.9])), rates[[0, 1]])
    assert schedule.horizon == 2


def test_tables_of_any_schedules_share_one_program():
    tables = [
        lrsched.table(schedule(np.arange(50)))
        for schedule in (lrsched.cosine(0.1, 50), lrsched.wsd(0.1, 50, 0.1, 0.2))
    ]
    assert jax.tree.structure(tables[0]) == jax.tree.structure(tables[1])


def test_vmap_over_values_and_boundaries():
    values, boundaries = np.float32([[1, 2], [3, 4]]), np.array([[2], [5]])
    got = jax.vmap(lambda v, b: lrsched.piecewise_constant(v, b)(3))(values, boundaries)
    assert got.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.piecewise_constant([1, 2], [3, 4]), "2 values and 2 boundaries do not"),
        (lambda: lrsched.piecewise_constant([1, 2, 3], [4, 3]), r"boundaries=\[4, 3\] is not acc"),
        (lambda: lrsched.piecewise_constant([1, 2, 3], [3, 3]), "each above the one before"),
        (lambda: lrsched.piecewise_constant([1, 2], [-1]), r"boundaries=\[-1\] is not accepted"),
        (lambda: lrsched.piecewise_constant([1, 2], [1.5]), r"boundaries=\[1.5\] is not accepted"),
        (lambda: lrsched.piecewise_constant([1, np.nan], [1]), "values must be a list of one or"),
        (lambda: lrsched.table([]), r"values=\[\] is not accepted"),
        (lambda: lrsched.table(0.1), "values=0.1 is not accepted"),
        (lambda: lrsched.table("abc"), "values='abc' is not accepted"),
        (lambda: lrsched.constant(0.1, steps=0), "steps=0 is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
