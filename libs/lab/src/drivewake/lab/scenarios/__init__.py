"""Where the activity of a simulated Drive comes from."""
