"""The machine finerank runs on: processes and their limits."""
