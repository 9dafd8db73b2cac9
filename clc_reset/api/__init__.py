"""The CLC v2 API: its calls, what its answers mean, and the way there."""
