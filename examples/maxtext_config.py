"""Build a schedule from a MaxText configuration, to read, save, sweep and change it."""

import lrsched

CONFIG = {
    "steps": 120,
    "learning_rate": 3e-4,
    "lr_schedule_type": "wsd",
    "learning_rate_schedule_steps": 100,
    "warmup_steps_fraction": 0.1,
    "wsd_decay_steps_fraction": 0.2,
    "wsd_decay_style": "linear",
    "learning_rate_final_fraction": 0.1,
}


def schedule_of(config):
    """Return MaxText's schedule for a configuration.

    The warmup reaches the peak at its boundary (``transition_steps=warmup_steps``, as in MaxText
    since February 2026). The decay has both of its ends among its steps, and after the last step
    the rate is 0.

    Args:
      config: Mapping with the keys of `CONFIG`.

    Returns:
      A schedule of ``learning_rate_schedule_steps`` steps, or of ``steps`` if that is -1.
    """
    peak = config["learning_rate"]
    end = peak * config["learning_rate_final_fraction"]
    steps = config["learning_rate_schedule_steps"]
    steps = config["steps"] if steps == -1 else steps
    is_wsd = config["lr_schedule_type"] == "wsd"
    warmup = int(steps * config["warmup_steps_fraction"])
    decay = int(steps * config["wsd_decay_steps_fraction"]) if is_wsd else steps - warmup
    shape = config["wsd_decay_style"] if is_wsd else "cosine"
    fall = {"linear": lrsched.linear, "cosine": lrsched.cosine}[shape]

    falling = lrsched.shift(fall(peak, steps=decay - 1, end=end), steps - decay - warmup)
    schedule = falling >> lrsched.piecewise_constant([end, 0.0], boundaries=[1])
    return lrsched.linear(0.0, peak, steps=warmup) >> schedule if warmup else schedule


if __name__ == "__main__":
    schedule = schedule_of(CONFIG)
    print(schedule)
    for step in (0, 10, 50, 80, 99, 100):
        print(f"{step:>4} {float(schedule(step)):.2e}")
