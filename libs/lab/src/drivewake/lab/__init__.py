"""The world in a box: real servers, a simulated Google, scenarios, contract suites and the demo."""
