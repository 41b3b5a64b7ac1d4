"""Talking to devices: one owner per connection, and the process image its answers fill."""
