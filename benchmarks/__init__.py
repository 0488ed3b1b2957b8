"""Scripts that measure: tables of methods, speed, soak runs."""
