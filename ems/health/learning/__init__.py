"""What is learned slowly about every series group: capacity, resistance, self-discharge, knees."""
