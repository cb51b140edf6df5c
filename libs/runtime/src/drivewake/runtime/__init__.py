"""How any Drivewake service lives: settings, logs, metrics, bus, lifecycle."""
