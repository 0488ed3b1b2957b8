"""From a config file to the parts of a run."""
