"""The rate falls after three accuracies in a row that do not beat the best, and only then."""

import tyro

from examples import plateau


def test_the_rate_follows_the_validation_accuracy():
    told, untold = tyro.cli(plateau.main, args=["--epochs", "9"])
    assert {rate for rate, *_ in untold} == {untold[0][0]}
    best, bad, expected = 0.0, 0, told[0][0]
    for rate, validation, _ in told:
        assert abs(rate - expected) <= 1e-6 * expected
        bad = 0 if validation > best * 1.0001 else bad + 1
        best = max(best, validation)
        if bad == 3:
            expected, bad = 0.3 * expected, 0
    assert told[-1][0] < told[0][0], "the rule must have acted"
    assert told[-1][2] > 0.95
