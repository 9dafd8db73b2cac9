"""What a reset is, from the intent to the verdict: no click, no rich, no httpx, no SQL."""
