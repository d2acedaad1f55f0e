"""The control channel: `control.ashx`, the action registry and dispatch."""
