"""Commands of the command line, a module for each group; ``ems.cli`` joins them."""
