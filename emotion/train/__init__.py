"""Training: the only home of Lightning and of YAML settings. Nothing outside but `emotion train` imports it."""
