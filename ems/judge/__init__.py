"""The single judgements behind ``ems.check``."""
