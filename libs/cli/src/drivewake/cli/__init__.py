"""The drivewake operator command."""
