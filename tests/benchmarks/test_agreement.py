from dataclasses import replace

from benchmarks.__main__ import main
from benchmarks.protocol import Protocol
from benchmarks.store import write_study
from tests.benchmarks.trials import study


def test_trials_whose_intervals_do_not_overlap_are_shown(tmp_path, capsys):
    trials = study(["digits-mlp"], ["constant", "cosine"])
    worse = {**trials[1].curves, "test_loss": trials[1].curves["test_loss"] + 100}
    paths = [tmp_path / f"{name}.json.gz" for name in ("one", "other")]
    write_study(paths[0], "one", Protocol(), trials)
    write_study(paths[1], "other", Protocol(), [trials[0], replace(trials[1], curves=worse)])
    main(["agree", str(paths[0]), str(paths[0])])
    assert "2 of 2 trials agree" in capsys.readouterr().out
    main(["agree", *map(str, paths)])
    printed = capsys.readouterr().out
    assert "1 of 2 trials agree" in printed
    assert "cosine" in printed
