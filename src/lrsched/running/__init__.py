"""What is done to a running job: reading its rates, changing them, taking its state over."""
