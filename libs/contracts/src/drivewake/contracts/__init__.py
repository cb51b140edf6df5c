"""The shared language of Drivewake: subjects, messages, events and keys."""
