"""The rate falls after an accuracy that does not beat the best, and only then, and only if told."""

import tyro

from examples import plateau


def test_the_rate_follows_the_validation_accuracy():
    told, untold = tyro.cli(plateau.main, args=["--epochs", "8", "--patience", "1"])
    assert {rate for rate, *_ in untold} == {untold[0][0]}
    best, expected = 0.0, told[0][0]
    for rate, validation, _ in told:
        assert abs(rate - expected) <= 1e-6 * expected
        if validation <= best * 1.0001:
            expected *= 0.3
        best = max(best, validation)
    assert told[-1][0] < told[0][0], "the rule must have acted"
    assert told[-1][2] > 0.9
