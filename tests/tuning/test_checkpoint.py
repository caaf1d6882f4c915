"""Sweeps that are killed, interrupted, or whose saves are damaged or fail."""

import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrsched import tuning
from lrsched.tuning.checkpoint import Checkpoint, defer_interrupts, flatten_arrays, restore_arrays
from tests.tuning.faults import damage_disk, run_sweep
from tests.tuning.faulty_sweep import SCHEDULES, regression
from tests.tuning.lost_process import HEARTBEAT_TIMEOUT

ARRAYS = {"rates": np.arange(1000, dtype=np.float32), "done": np.array([True, False])}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    status, lines, messages = run_sweep(tmp_path_factory.mktemp("whole"))
    assert status == 0, messages
    return lines


def written(directory, *contents):
    """Write saves of these step numbers; return their files, the newest last."""
    with Checkpoint(directory, 0.0) as checkpoint:
        for step in contents:
            assert checkpoint.save({"step": step}, ARRAYS)
    return sorted(Path(directory).glob("process-0/save-*.zip"))


def loaded(directory):
    with Checkpoint(directory, 0.0) as checkpoint:
        return checkpoint.load()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(offset):
    def flip_at(path):
        data = bytearray(path.read_bytes())
        data[offset if offset < len(data) else len(data) // 2] ^= 0x10
        path.write_bytes(bytes(data))

    return flip_at


def test_the_newest_two_saves_are_kept_and_read_back(tmp_path):
    files = written(tmp_path, 1, 2, 3)
    assert [file.name for file in files] == ["save-2.zip", "save-3.zip"]
    save = loaded(tmp_path)
    assert save.metadata == {"step": 3}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(save.arrays[name], array)
        assert save.arrays[name].dtype == array.dtype


def test_every_dtype_of_a_state_and_random_keys_read_back(tmp_path):
    tree = {
        "bf16": jnp.ones(3, jnp.bfloat16) / 3,
        "scalar": jnp.int32(7),
        "key": jax.random.key(5),
        "empty": jnp.zeros((0, 2)),
    }
    with Checkpoint(tmp_path, 0.0) as checkpoint:
        checkpoint.save({}, flatten_arrays("tree", tree))
        restored = restore_arrays(checkpoint.load().arrays, "tree", tree)
    chex.assert_trees_all_equal_shapes_and_dtypes(restored, tree)
    assert jax.tree.all(jax.tree.map(lambda old, new: bool(jnp.all(old == new)), tree, restored))


@pytest.mark.parametrize("damage", [cut, empty, flip(500), flip(2000), flip(10**9)])
def test_a_damaged_save_is_replaced_by_the_older_one(tmp_path, damage):
    files = written(tmp_path, 1, 2)
    damage(files[-1])
    with pytest.warns(RuntimeWarning, match=r"save-2.zip is damaged .*; the older save save-1.zip"):
        assert loaded(tmp_path).metadata == {"step": 1}
    damage(files[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert loaded(tmp_path) is None
    assert "there is no older save, so the sweep starts again" in str(caught[-1].message)


def test_any_flipped_bit_of_the_data_is_noticed(tmp_path):
    (file,) = written(tmp_path, 1)
    intact = file.read_bytes()
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place in rng.choice(len(intact), 40, replace=False):
            damaged = bytearray(intact)
            damaged[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(bytes(damaged))
            save = loaded(tmp_path)
            # What zip's own records say twice (times, attributes) may differ without harm.
            if save is not None:
                assert save.metadata == {"step": 1}
                assert all(np.array_equal(save.arrays[k], v) for k, v in ARRAYS.items())


def test_a_save_that_fails_warns_and_leaves_the_earlier_ones(tmp_path, monkeypatch):
    written(tmp_path, 1)

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with Checkpoint(tmp_path, 0.0) as checkpoint:
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", no_space)
            with pytest.warns(
                RuntimeWarning, match=r"failed \(No space left on device\); the swee"
            ):
                assert not checkpoint.save({"step": 2}, ARRAYS)
        assert not list(tmp_path.rglob("*.tmp"))
        assert checkpoint.load().metadata == {"step": 1}
        assert checkpoint.save({"step": 3}, ARRAYS)
    assert loaded(tmp_path).metadata == {"step": 3}


def test_a_directory_that_cannot_be_made_warns_and_the_sweep_has_its_result(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        result = tuning.sweep(
            regression(), SCHEDULES[:1], checkpoint=tmp_path / "file" / "sweep", progress=False
        )
    assert np.isfinite(result.table["loss"]).all()


def test_a_second_sweep_on_a_directory_is_refused_until_the_first_has_ended(tmp_path):
    with (
        Checkpoint(tmp_path, 0.0),
        pytest.raises(ValueError, match="another sweep is using it"),
    ):
        tuning.sweep(regression(), SCHEDULES[:1], checkpoint=tmp_path, progress=False)
    with Checkpoint(tmp_path, 0.0) as checkpoint:
        assert checkpoint.save({"step": 1}, ARRAYS)


def test_a_killed_owner_leaves_no_lock_and_a_damaged_save_costs_only_time(tmp_path, uninterrupted):
    status, _, _ = run_sweep(tmp_path, "kill")
    assert status == -signal.SIGKILL
    cut(max(tmp_path.glob("process-0/save-*.zip")))
    status, lines, messages = run_sweep(tmp_path)
    assert (status, lines[1:]) == (0, uninterrupted[1:]), messages
    assert messages.count("is damaged") == 1
    assert 0 < int(lines[0]) < int(uninterrupted[0]), "it must have had less left to do"


def test_a_flipped_bit_between_a_kill_and_the_continuation_costs_only_time(tmp_path, uninterrupted):
    damage_disk(tmp_path, "a bit of the arrays is flipped", uninterrupted)


@pytest.mark.parametrize("name", ["sigint", "sigterm"])
def test_an_interrupt_saves_first_and_then_has_its_effect(tmp_path, uninterrupted, name):
    status, _, messages = run_sweep(tmp_path, name)
    if name == "sigint":
        assert "KeyboardInterrupt" in messages
    assert status == -getattr(signal, name.upper())
    status, lines, messages = run_sweep(tmp_path)
    assert (status, lines[1:]) == (0, uninterrupted[1:]), messages
    assert 0 < int(lines[0]) < int(uninterrupted[0])


def test_files_that_may_not_grow_are_warnings_and_later_saves_succeed(tmp_path, uninterrupted):
    status, lines, messages = run_sweep(tmp_path, "small-files")
    assert (status, lines) == (0, uninterrupted), messages
    assert "failed (File too large); the sweep continues" in messages
    assert not list(tmp_path.rglob("*.tmp"))
    assert len(list(tmp_path.rglob("save-*.zip"))) == 2


def test_a_full_file_system_is_a_warning(tmp_path, uninterrupted):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a small file system can be mounted by root only")
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    try:
        (tmp_path / "ballast").write_bytes(bytes(60_000))
        status, lines, messages = run_sweep(tmp_path)
        assert (status, lines) == (0, uninterrupted), messages
        assert "failed (No space left on device); the sweep continues" in messages
        assert not list(tmp_path.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_killed_process_ends_the_other_which_continues_alone(tmp_path):
    command = [sys.executable, "-m", "tests.tuning.lost_process", str(tmp_path)]
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [*command, str(process), "23458"], cwd=root, stderr=subprocess.PIPE, text=True
        )
        for process in range(2)
    ]
    assert processes[1].wait(timeout=120) == -signal.SIGKILL
    began = time.monotonic()
    _, messages = processes[0].communicate(timeout=120)
    assert processes[0].returncode != 0
    # JAX notices after its timeout, and checks once per timeout.
    assert time.monotonic() - began < 3 * HEARTBEAT_TIMEOUT
    assert "continues from the checkpoint, with any number of processes" in messages
    finished = [loaded_runs(tmp_path / f"process-{process}") for process in range(2)]
    assert finished == [2, 1]
    processes[1].stderr.close()
    arguments = {"plan": tuning.ExecutionPlan(1, 1), "progress": False}
    whole = tuning.sweep(regression(), SCHEDULES, **arguments)
    alone = tuning.sweep(regression(), SCHEDULES, checkpoint=tmp_path, **arguments)
    np.testing.assert_array_equal(alone.table, whole.table)
    np.testing.assert_array_equal(alone.train_loss, whole.train_loss)


def loaded_runs(directory):
    """Return the number of finished runs in the newest save of a process."""
    newest = max(directory.glob("save-*.zip"), key=lambda path: int(path.stem[5:]))
    with zipfile.ZipFile(newest) as archive:
        return int(np.frombuffer(archive.read("results.0"), bool).sum())


def test_a_second_interrupt_does_not_wait():
    with defer_interrupts(True) as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.is_requested()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
